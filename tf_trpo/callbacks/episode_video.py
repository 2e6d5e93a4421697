"""An episode of the present policy as an animated GIF, for TensorBoard's images."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from tensorboard.compat.proto import summary_pb2
from tensorboard.plugins.image import metadata
from tensorboard.util import tensor_util

from tf_trpo.environments import open_vector_environment

LARGEST_SIDE = 300
"""Larger frames are shrunk to so many pixels."""
MOST_FRAMES = 200
FRAMES_PER_SECOND = 15
"""At most: each frame is shown for a multiple of the environment's time step, so that a film has the right speed."""

Frame = NDArray[np.uint8]


class EpisodeVideo:
    """Films one episode of the most likely actions.

    Args:
      env: Gymnasium id of an environment with the render mode rgb_array, or a function that makes one that has this
        mode: `lambda: MyEnv(render_mode="rgb_array")`.
      every_steps: environment steps of training between two films, >= 1.
      seed: seed of the environment, so that every film begins in the same state.
      **making: env_kwargs, wrappers, action_masks: as for `make_vector_environment`.
    """

    def __init__(self, env: str | Callable[[], gym.Env], every_steps: int, *, seed: int = 0, **making: Any) -> None:
        self.every_steps = every_steps
        self._env = env
        self._seed = seed
        self._making = making
        if isinstance(env, str):
            self._making["env_kwargs"] = {**(making.get("env_kwargs") or {}), "render_mode": "rgb_array"}

    def check(self) -> None:
        """Render once; raise ValueError if that fails."""
        try:
            # Renderers warn before they fail.
            with warnings.catch_warnings(action="ignore"), self._open() as environments:
                environments.reset(seed=self._seed)
                _rendered(environments)
        except Exception as error:  # Each renderer has errors of its own.
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ValueError(
                f"{self._env} cannot be filmed: {reason} (classic control and toy text need "
                'pip install "tf_trpo[play]", MuJoCo a display or MUJOCO_GL=egl; video_every 0 trains without)'
            ) from None

    def record(self, agent: Any) -> bytes:
        """Make a GIF of the first `MOST_FRAMES` frames of an episode."""
        frames: list[Frame] = []
        with self._open() as environments:
            rate = float(environments.metadata.get("render_fps", 30))
            stride = max(1, round(rate / FRAMES_PER_SECOND))
            observations, _ = environments.reset(seed=self._seed)
            for step in range(stride * MOST_FRAMES):
                if step % stride == 0:
                    frames.append(_rendered(environments))
                observations, _, terminated, truncated, _ = environments.step(agent.predict(observations))
                if terminated[0] or truncated[0]:
                    break
        return encode_gif(frames, milliseconds=stride * 1000 / rate)

    def _open(self) -> Any:
        return open_vector_environment(self._env, 1, **self._making)


def encode_gif(frames: list[Frame], *, milliseconds: float) -> bytes:
    """Make a GIF that repeats of frames [height, width, 3], each shown for so many milliseconds; shrink large ones."""
    from PIL import Image

    images = [Image.fromarray(frame) for frame in frames]
    for image in images:
        image.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
    file = io.BytesIO()
    images[0].save(file, "GIF", save_all=True, append_images=images[1:], duration=milliseconds, loop=0)
    return file.getvalue()


def gif_summary(tag: str, gif: bytes) -> summary_pb2.Summary:
    """Make a Summary of a GIF for the image dashboard, which shows encoded images as they are."""
    # A GIF's bytes 6 to 9 are its width and height, little-endian.
    size = [str(int.from_bytes(gif[start : start + 2], "little")).encode() for start in (6, 8)]
    description = metadata.create_summary_metadata(display_name=None, description=None)
    tensor = tensor_util.make_tensor_proto([*size, gif])
    return summary_pb2.Summary(value=[summary_pb2.Summary.Value(tag=tag, metadata=description, tensor=tensor)])


def _rendered(environments: gym.vector.VectorEnv) -> Frame:
    frames = environments.render()
    if not frames or frames[0] is None:
        raise ValueError("it has no render mode rgb_array")
    return np.asarray(frames[0], np.uint8)
