"""Film an episode of the current policy as an animated GIF for TensorBoard's images."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from tensorboard.compat.proto import summary_pb2
from tensorboard.plugins.image import metadata
from tensorboard.util import tensor_util

from tf_trpo.environments import check_rendering, open_rendered_environment

LARGEST_SIDE = 300
"""Maximum width and height in pixels; larger frames are shrunk."""
MOST_FRAMES = 200
FRAMES_PER_SECOND = 15
"""Approximate frame rate: every k-th step is a frame, with the k that comes nearest, so that films have the right
speed."""

Frame = NDArray[np.uint8]


class EpisodeVideo:
    """Films one episode with the most likely actions.

    Args:
      env: Gymnasium id of an environment with the render mode rgb_array, or a function that makes an environment with
        this mode: `lambda: MyEnv(render_mode="rgb_array")`. It is made, stepped and rendered in a separate process.
      every_steps: environment steps of training between films, >= 1.
      seed: seed of the environment; every film begins in the same state.
      **making: env_kwargs, wrappers, action_masks: as for `make_vector_environment`.
    """

    def __init__(self, env: str | Callable[[], gym.Env], every_steps: int, *, seed: int = 0, **making: Any) -> None:
        self.every_steps = every_steps
        self._env = env
        self._seed = seed
        self._making = making

    def check(self) -> None:
        """Raise ValueError if the environment cannot be rendered."""
        try:
            check_rendering(self._env, seed=self._seed, **self._making)
        except Exception as error:
            raise ValueError(f"{error}; video_every 0 trains without a film") from None

    def record(self, agent: Any) -> bytes:
        """Return a GIF of the first `MOST_FRAMES` frames of an episode.

        Raises:
          ValueError: the environment cannot be rendered.
          EnvironmentFailedError: the environment raised, or its process died.
        """
        frames: list[Frame] = []
        state: Any = None
        with open_rendered_environment(self._env, **self._making) as environment:
            rate = float(environment.metadata.get("render_fps", 30))
            stride = max(1, round(rate / FRAMES_PER_SECOND))
            observations, _ = environment.reset(seed=self._seed)
            for step in range(stride * MOST_FRAMES):
                if step % stride == 0:
                    frames.append(environment.render())
                action = agent.predict(observations, state)
                if agent.policy.memory is not None:
                    action, state = action
                observations, _, terminated, truncated, _ = environment.step(action)
                if terminated[0] or truncated[0]:
                    break
        return encode_gif(frames, milliseconds=stride * 1000 / rate)


def encode_gif(frames: list[Frame], *, milliseconds: float) -> bytes:
    """Encode frames [height, width, 3] as a GIF that loops; large frames are shrunk.

    Args:
      frames: the frames.
      milliseconds: duration of each frame.
    """
    from PIL import Image

    images = [Image.fromarray(frame) for frame in frames]
    for image in images:
        image.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
    file = io.BytesIO()
    images[0].save(file, "GIF", save_all=True, append_images=images[1:], duration=milliseconds, loop=0)
    return file.getvalue()


def gif_summary(tag: str, gif: bytes) -> summary_pb2.Summary:
    """Return a Summary of a GIF for TensorBoard's image dashboard."""
    # A GIF's bytes 6 to 9 are its width and height, little-endian.
    size = [str(int.from_bytes(gif[start : start + 2], "little")).encode() for start in (6, 8)]
    description = metadata.create_summary_metadata(display_name=None, description=None)
    tensor = tensor_util.make_tensor_proto([*size, gif])
    return summary_pb2.Summary(value=[summary_pb2.Summary.Value(tag=tag, metadata=description, tensor=tensor)])
