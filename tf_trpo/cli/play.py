"""`play`: drive an environment by an exported model, here or behind a server."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from tf_trpo.cli.parsing import check_environment_id, parse
from tf_trpo.cli.startup import start_tensorflow
from tf_trpo.experiment.settings import EPISODES, SEEDS
from tf_trpo.ranges import require, require_allowed

if TYPE_CHECKING:
    import numpy as np
    from gymnasium.vector import VectorEnv

    from tf_trpo.serving.local_policy import LocalPolicy
    from tf_trpo.serving.remote_policy import RemotePolicy

_CODEC_BLOCK = 2
"""H.264 halves the resolution of colours, so width and height must be even."""


@dataclasses.dataclass(frozen=True)
class PlayOptions:
    """Run episodes by an exported model, or by a server that answers for one; record them if asked to."""

    env: tyro.conf.Positional[str | None] = None
    """Gymnasium id; by default, the one that the model was exported with."""
    model: Path | None = None
    """Folder of a model, such as saved_models/CartPole-v1, or of a version of it."""
    server: str | None = None
    """URL of a model, such as http://127.0.0.1:8501/v1/models/CartPole-v1, of serve or of TensorFlow Serving."""
    episodes: int = 1
    """Whole episodes to run."""
    stochastic: bool = False
    """Sample actions; by default the most likely action is taken."""
    seed: int = 0
    """Of the environment and of sampled actions."""
    video: Path | None = None
    """Record to this file, FILE.mp4 or FILE.gif (extra play)."""
    json: bool = False
    """Print one JSON object: returns, lengths, mean_return."""
    allow_import: bool = False
    """Let an id with a module prefix, module:Id, import that module, which runs its code."""
    trust: bool = False
    """Load a SavedModel that tf_trpo did not write, too. A SavedModel is a program: it can do what you can."""

    def __post_init__(self) -> None:
        if (self.model is None) == (self.server is None):
            raise ValueError("play needs either --model FOLDER or --server URL")
        if self.server is not None and self.env is None:
            raise ValueError("a server does not say which environment its model is for: name it first")
        require_allowed(self, episodes=EPISODES, seed=SEEDS)
        ends = self.video is None or self.video.suffix in (".mp4", ".gif")
        require(ends, "video", "a file that ends with .mp4 or .gif", str(self.video))


def main(argv: Sequence[str]) -> None:
    """Read options, play, print."""
    options = parse(PlayOptions, argv, "play")
    returns, lengths = zip(*_play(options), strict=True)
    mean = sum(returns) / len(returns)
    if options.json:
        print(json.dumps({"mean_return": mean, "returns": returns, "lengths": lengths}))
        return
    for number, (undiscounted, length) in enumerate(zip(returns, lengths, strict=True), start=1):
        print(f"episode {number}: return {undiscounted:.2f}, length {length}")
    print(f"mean return {mean:.2f}, {len(returns)} episodes")


def _play(options: PlayOptions) -> list[tuple[float, int]]:
    """Run the episodes; return the sum of the environment's own rewards, and the number of steps, of each."""
    policy = _policy(options)
    name = _environment(options, policy)
    check_environment_id(name, allow_import=options.allow_import)
    import gymnasium as gym

    from tf_trpo.environments import open_vector_environment

    # Frames are drawn in memory, but pygame would look for a screen.
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    render_mode = None if options.video is None else "rgb_array"
    make = functools.partial(gym.make, name, render_mode=render_mode)
    with contextlib.closing(policy), open_vector_environment(make, 1) as environment:
        given = environment.single_observation_space.shape
        observed = getattr(policy, "observation_shape", given)
        if observed != given:
            raise ValueError(f"the model observes arrays of shape {observed}, the environment gives {given}")
        with _open_video(options.video, float(environment.metadata.get("render_fps", 30))) as video:
            return _episodes(options, environment, policy, video)


def _policy(options: PlayOptions) -> LocalPolicy | RemotePolicy:
    if options.server is not None:
        from tf_trpo.serving.remote_policy import RemotePolicy

        return RemotePolicy(options.server)
    assert options.model is not None, "there is one or the other"
    start_tensorflow()
    from tf_trpo.serving.local_policy import LocalPolicy

    return LocalPolicy(options.model, trust=options.trust)


def _environment(options: PlayOptions, policy: LocalPolicy | RemotePolicy) -> str:
    if options.env is not None:
        return options.env
    metadata = getattr(policy, "metadata", None)
    if metadata is None or metadata.environment is None:
        raise ValueError(f"{options.model} does not say which environment it is for: name it first")
    return str(metadata.environment)


def _open_video(path: Path | None, fps: float) -> Any:
    """Open a file for frames, as a context; the context gives None if there is no path."""
    if path is None:
        return contextlib.nullcontext()
    import imageio

    # ffmpeg would say at length what is wrong with the path.
    with open(path, "ab"):
        pass
    if path.suffix == ".mp4":
        return imageio.get_writer(path, fps=fps, macro_block_size=_CODEC_BLOCK)
    return imageio.get_writer(path, mode="I", duration=1000 / fps, loop=0)


def _episodes(
    options: PlayOptions, environment: VectorEnv, policy: LocalPolicy | RemotePolicy, video: Any
) -> list[tuple[float, int]]:
    episodes: list[tuple[float, int]] = []
    steps = 0
    for number in range(options.episodes):
        # Every episode has a seed of its own, made of this one and the episode's number.
        observations, _ = environment.reset(seed=options.seed if number == 0 else None)
        total, length, ended = 0.0, 0, False
        _film(environment, video)
        while not ended:
            seed = (options.seed, steps) if options.stochastic else None
            action = _fitting(policy.act(observations, seed), environment)
            observations, rewards, terminated, truncated, _ = environment.step(action)
            total, length, steps = total + float(rewards[0]), length + 1, steps + 1
            ended = bool(terminated[0] or truncated[0])
            _film(environment, video)
        episodes.append((total, length))
    return episodes


def _fitting(actions: np.ndarray, environment: VectorEnv) -> np.ndarray:
    space = environment.single_action_space
    kinds = "iu" if space.shape == () else "iuf"
    typed = actions.astype(space.dtype) if actions.dtype.kind in kinds else actions
    # The dots make an array of a single action: Gymnasium warns if an action is a plain number.
    if len(typed) != 1 or not space.contains(typed[0, ...]):
        raise ValueError(f"the model's action {actions.tolist()} does not lie in the environment's {space}")
    return typed


def _film(environment: VectorEnv, video: Any) -> None:
    if video is not None:
        frames = environment.render()
        if not frames or frames[0] is None:
            raise ValueError("the environment does not render")
        video.append_data(frames[0])
