"""`play`: run episodes with an exported model, in this process or on a server."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tf_trpo.cli.parsing import Positional, parse
from tf_trpo.cli.startup import start_tensorflow
from tf_trpo.experiment.conversion import changed
from tf_trpo.experiment.imports import check_imports
from tf_trpo.experiment.run_folder import RunFolder
from tf_trpo.experiment.settings import EPISODES, SEEDS, ActionMasks, EnvironmentSettings
from tf_trpo.extras import not_installed
from tf_trpo.files import replaced_at_once
from tf_trpo.messages import rounded, say
from tf_trpo.ranges import require, require_allowed

if TYPE_CHECKING:
    from gymnasium.vector import VectorEnv

    from tf_trpo.environments.rendering import RenderedEnvironment
    from tf_trpo.serving.local_policy import LocalPolicy
    from tf_trpo.serving.remote_policy import RemotePolicy

_MOST_STEPS = 100_000
"""Steps after which an episode is cut, as by `evaluate`."""
_MOST_BEGINNINGS = 5
"""Times that an episode begins if a server replaces the version of its model in between."""


@dataclasses.dataclass(frozen=True)
class PlayOptions:
    """Run episodes with an exported model, or with a server's model, and optionally record a video."""

    model: Positional[str]
    """Folder of a model, such as saved_models/CartPole-v1, of a version of a model, or of a run trained with
    --export; or the URL of a served model, such as http://127.0.0.1:8501/v1/models/CartPole-v1."""
    env: str | None = None
    """Gymnasium id or module:Class; by default the environment in the model's metadata. Required with a URL."""
    episodes: int = 1
    """Number of whole episodes to run."""
    stochastic: bool = False
    """Sample actions; by default the most likely actions are taken."""
    seed: int = 0
    """Seed of the environment and of sampled actions."""
    env_kwargs: dict[str, Any] | None = None
    """Arguments of the environment, a JSON object; by default those of the model, if the environment is the same."""
    wrapper: tuple[str, ...] = ()
    """Wrappers to apply in this order, as module:Class; by default the model's, if the environment is the same."""
    action_masks: ActionMasks | None = None
    """Where action masks come from: auto, info or off, as in the training; by default as in the model's metadata, or
    auto with a URL."""
    video: Path | None = None
    """Record to this file, FILE.mp4 or FILE.gif (extra play)."""
    json: bool = False
    """Print one JSON object: returns, lengths, mean_return."""
    allow_import: bool = False
    """Allow an environment of the form module:Class or module:Id, and wrappers to import their modules, which runs the
    modules' code."""
    trust: bool = False
    """Also load a SavedModel that tf_trpo did not write. A SavedModel is a program: it can do what you can."""

    def __post_init__(self) -> None:
        if self.is_served and self.env is None:
            raise ValueError("a server does not say which environment its model is for: name it by --env")
        require_allowed(self, episodes=EPISODES, seed=SEEDS)
        ends = self.video is None or self.video.suffix in (".mp4", ".gif")
        require(ends, "video", "a file that ends with .mp4 or .gif", str(self.video))

    @property
    def is_served(self) -> bool:
        """Whether the model is given by a server's URL."""
        return "://" in self.model


def main(argv: Sequence[str]) -> None:
    """Run episodes and print their returns and lengths."""
    options = parse(PlayOptions, argv, "play")
    returns, lengths = zip(*play(options), strict=True)
    mean = sum(returns) / len(returns)
    if options.json:
        print(json.dumps({"mean_return": mean, "returns": returns, "lengths": lengths}))
        return
    for number, (undiscounted, length) in enumerate(zip(returns, lengths, strict=True), start=1):
        print(f"episode {number}: return {rounded(undiscounted, 2)}, length {length}")
    print(f"mean return {rounded(mean, 2)}, {len(returns)} episodes")


def play(options: PlayOptions) -> list[tuple[float, int]]:
    """Run the episodes; return the undiscounted return and the length in steps of each."""
    local = None if options.is_served else _local_policy(Path(options.model), trust=options.trust)
    name, settings = _environment(options, local)
    check_imports(name, EnvironmentSettings(wrapper=settings.wrapper), allow_import=options.allow_import)
    from tf_trpo.environments import open_rendered_environment, open_vector_environment

    making = settings.arguments()
    # Some renderers crash in a process that has loaded TensorFlow, as this one has.
    opened: Any = (
        open_vector_environment(name, 1, **making)
        if options.video is None
        else open_rendered_environment(name, **making)
    )
    with opened as environment, contextlib.closing(local or _remote_policy(options, environment)) as policy:
        if options.video is not None:
            # Render once before the file is opened: if rendering fails, no file is made.
            environment.reset(seed=options.seed)
            environment.render()
        with _open_video(options.video, float(environment.metadata.get("render_fps", 30))) as video:
            return _episodes(options, environment, policy, video)


def _local_policy(model: Path, *, trust: bool) -> LocalPolicy:
    start_tensorflow()
    from tf_trpo.serving.local_policy import LocalPolicy

    if not model.is_dir():
        raise ValueError(f"{model} is not a folder: play takes the folder of an exported model, or the URL of a server")
    run = RunFolder(model)
    exported = run.agent.is_file() and run.saved_model.is_dir()
    return LocalPolicy(run.saved_model if exported else model, trust=trust)


def _remote_policy(options: PlayOptions, environment: VectorEnv | RenderedEnvironment) -> RemotePolicy:
    from tf_trpo.serving.remote_policy import RemotePolicy

    return RemotePolicy(options.model, environment.single_action_space.sample())


def _environment(options: PlayOptions, policy: LocalPolicy | None) -> tuple[str, EnvironmentSettings]:
    """Return the environment's id and its settings, from the options or the model's metadata."""
    metadata = getattr(policy, "metadata", None)
    name = options.env or getattr(metadata, "environment", None)
    if name is None:
        raise ValueError(f"{options.model} does not say which environment it is for: name it by --env")
    exported = getattr(metadata, "environment_arguments", None) or {}
    # Arguments and wrappers belong to the environment, but masks are needed by the model in any environment.
    made = exported if name == getattr(metadata, "environment", None) else {}
    given = {
        "env_kwargs": made.get("env_kwargs") if options.env_kwargs is None else options.env_kwargs,
        "wrapper": options.wrapper or made.get("wrappers", ()),
        "action_masks": options.action_masks or exported.get("action_masks", "auto"),
    }
    return str(name), changed(EnvironmentSettings(), given)


@contextlib.contextmanager
def _open_video(path: Path | None, fps: float) -> Iterator[Any]:
    """Open a video file, which replaces an old one when it is complete; without a path, yield None."""
    if path is None:
        yield None
        return
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    with replaced_at_once(path) as aside:
        try:
            # Make the file here first, since ffmpeg's messages about a bad path are long.
            aside.touch()
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from None
        with _writer(aside, fps) as video:
            yield video


def _writer(path: Path, fps: float) -> Any:
    import imageio

    if path.suffix != ".mp4":
        return imageio.get_writer(path, mode="I", duration=1000 / fps, loop=0)
    try:
        # H.264 halves the resolution of colours, so width and height must be even.
        return imageio.get_writer(path, format="FFMPEG", fps=fps, macro_block_size=2)
    except ImportError as error:
        # imageio has no ffmpeg.
        raise not_installed("imageio") from error


def _episodes(
    options: PlayOptions, environment: VectorEnv | RenderedEnvironment, policy: LocalPolicy | RemotePolicy, video: Any
) -> list[tuple[float, int]]:
    from tf_trpo.serving.remote_policy import VersionReplacedError

    episodes: list[tuple[float, int]] = []
    for number in range(options.episodes):
        for left in reversed(range(_MOST_BEGINNINGS)):
            try:
                steps = sum(length for _, length in episodes)
                episodes.append(_episode(options, environment, policy, video, number, steps))
                break
            except VersionReplacedError as error:
                if not left:
                    raise
                # A film shows what was played until here, too.
                say(f"episode {number + 1} begins again with a new version of the model: {error}")
    return episodes


def _episode(
    options: PlayOptions,
    environment: VectorEnv | RenderedEnvironment,
    policy: LocalPolicy | RemotePolicy,
    video: Any,
    number: int,
    steps: int,
) -> tuple[float, int]:
    """Run the episode of a number after `steps` steps of those before it; return its return and its length."""
    from tf_trpo.environments.episodes import REPLAY
    from tf_trpo.environments.fitting import fitting_actions

    # The environment derives the episode's seed from this one and the episode's number.
    observations, _ = environment.reset(seed=options.seed, options={REPLAY: [(number, ())]})
    policy.begin()
    total, length, ended = 0.0, 0, False
    while not ended and length < _MOST_STEPS:
        if video is not None:
            video.append_data(environment.render())
        seed = (options.seed, steps + length) if options.stochastic else None
        action = fitting_actions(policy.act(observations, seed), environment.single_action_space)
        observations, rewards, terminated, truncated, _ = environment.step(action)
        total, length = total + float(rewards[0]), length + 1
        ended = bool(terminated[0] or truncated[0])
    if not ended:
        say(f"an episode had no end after {length} steps; it is cut there")
    if video is not None:
        video.append_data(environment.render())
    return total, length
