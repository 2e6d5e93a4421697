"""`train`: train an agent and write a run folder."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tf_trpo.cli.algorithms import check_algorithm, make_policy_optimizer
from tf_trpo.cli.environment_id import ALLOW_IMPORT, check_environment_id, flag_for
from tf_trpo.cli.errors import FailedError, NotWrittenError, UsageError, one_line_errors
from tf_trpo.cli.hyperparameters import hyperparameters
from tf_trpo.cli.limits import check_limits
from tf_trpo.cli.parsing import split_flag
from tf_trpo.cli.presets import parse_choice
from tf_trpo.cli.resume import resumed_settings, split_resume
from tf_trpo.cli.run_folder import RunFolder, free_run_dir, logging_to
from tf_trpo.cli.settings import LARGEST_SEED, PolicySettings, TrainSettings
from tf_trpo.cli.startup import start_tensorflow
from tf_trpo.files import write_whole

if TYPE_CHECKING:
    import keras

    import tf_trpo
    from tf_trpo.callbacks import EpisodeVideo
    from tf_trpo.training import LinearDecayRestarts


BY_SIGNAL = 128
"""Exit status after a signal, less its number, as shells have it: 130 after Ctrl-C, 143 after SIGTERM."""


def main(argv: Sequence[str]) -> None:
    """Parse options, train or go on, evaluate, save, and say what to do next."""
    with one_line_errors():
        allow_import, argv = split_flag(argv, ALLOW_IMPORT)
        resumed, options = split_resume(argv)
        if resumed is None:
            settings, source = parse_choice(options, "train")
        else:
            settings, source = resumed_settings(resumed, options, "train"), ""
        check_algorithm(settings)
        _check_ranges(settings)
        check_limits(settings.flat())
        check_environment_id(settings.environment.env, allow_import=allow_import)
        start_tensorflow(settings.run.threads)
        agent = _agent(settings)
        folder = RunFolder(settings.run.run_dir or free_run_dir(settings.environment.env, settings.run.seed))
        if resumed is None:
            folder.create(settings.flat())
            if not settings.run.quiet:
                print(source, file=sys.stderr, flush=True)
    with one_line_errors(), logging_to(folder.events):
        try:
            _run(agent, settings, folder, resume=resumed is not None)
        except OSError as error:
            raise NotWrittenError(f"{error}; older checkpoints are as they were") from None


def _run(agent: tf_trpo.TRPO, settings: TrainSettings, folder: RunFolder, *, resume: bool) -> None:
    stopped = _train(agent, settings, folder, resume=resume)
    agent.save(folder.agent)
    if stopped is not None:
        _say_how_to_go_on(agent, settings, folder)
        raise SystemExit(BY_SIGNAL + stopped)
    result = _evaluated(agent, settings)
    write_whole(folder.evaluation, json.dumps(result) + "\n")
    _show_evaluation(agent, folder, result)
    if settings.run.export:
        agent.export(folder.saved_model, environment=settings.environment.env, evaluation=result)
    if not settings.run.quiet:
        _say_what_next(settings, folder, result)


def _agent(settings: TrainSettings) -> tf_trpo.TRPO:
    """Everything that can be wrong with the settings is found here, before the run folder is made."""
    import gymnasium as gym
    import keras

    import tf_trpo
    from tf_trpo.environments import EnvironmentFailedError, open_vector_environment
    from tf_trpo.models import check_fit
    from tf_trpo.training import UpdateSettings

    env, seed, value = settings.environment.env, settings.run.seed, settings.value
    flat = settings.flat()
    update = {field.name: flat[field.name] for field in dataclasses.fields(UpdateSettings)}
    try:
        keras.utils.set_random_seed(seed)
        policy = _policy_arguments(settings.policy)
        agent = tf_trpo.TRPO.for_env(env, **policy, value_hidden_sizes=value.value_hidden_sizes, seed=seed)
        if settings.environment.backend == "envpool":  # has other environments than Gymnasium, or is not installed
            with open_vector_environment(env, 1, backend="envpool", seed=seed) as pool:
                check_fit(agent.policy, pool)
        if settings.run.video_every:
            _video(settings).check()
        agent.compile(
            make_policy_optimizer(settings),
            keras.optimizers.Adam(_value_learning_rate(settings)),
            jit_compile=settings.algorithm.jit_compile,
            **update,
        )
    except EnvironmentFailedError as error:
        raise FailedError(f"env {env}: {error}") from None
    except (ValueError, ImportError, gym.error.Error) as error:
        raise UsageError(str(error)) from None
    return agent


def _value_learning_rate(settings: TrainSettings) -> float | LinearDecayRestarts:
    from tf_trpo.numerics import minibatches_per_epoch
    from tf_trpo.training import LinearDecayRestarts

    value, samples = settings.value, settings.environment.num_envs * settings.advantages.num_steps
    if not value.value_learning_rate_decay or not value.value_epochs:
        return value.value_learning_rate
    steps = value.value_epochs * minibatches_per_epoch(samples, value.value_minibatch_size)
    return LinearDecayRestarts(value.value_learning_rate, steps)


def _policy_arguments(settings: PolicySettings) -> dict[str, Any]:
    """The settings as arguments of `TRPO.for_env`; with a final_std, a schedule is in the place of learning."""
    arguments = dataclasses.asdict(settings)
    annealed = arguments.pop("final_std") is not None
    del arguments["std_steps"]
    if annealed and settings.state_dependent_std:
        raise ValueError("a state_dependent_std is learned, and has no final_std: --final-std None")
    return {**arguments, "learned_std": not annealed}


def _check_ranges(settings: TrainSettings) -> None:
    """Ranges that no constructor checks."""
    at_least = {
        "num_envs": (settings.environment.num_envs, 1),
        "restart_every": (settings.environment.restart_every, 0),
        "num_steps": (settings.advantages.num_steps, 1),
        "total_steps": (settings.run.total_steps, 1),
        "eval_every": (settings.run.eval_every, 0),
        "eval_episodes": (settings.run.eval_episodes, 1),
        "max_faults": (settings.run.max_faults, 1),
        "checkpoint_every": (settings.run.checkpoint_every, 0),
        "histogram_every": (settings.run.histogram_every, 0),
        "video_every": (settings.run.video_every, 0),
        "threads": (settings.run.threads, 0),
        "std_steps": (settings.policy.std_steps, 1),
        "max_kl_steps": (settings.trust_region.max_kl_steps, 1),
        "observation_min_std": (settings.policy.observation_min_std, 0),
        "hidden_sizes": (min(settings.policy.hidden_sizes, default=1), 1),
        "value_hidden_sizes": (min(settings.value.value_hidden_sizes, default=1), 1),
    }
    for name, (value, lowest) in at_least.items():
        if not value >= lowest:
            raise UsageError(f"{name} must be at least {lowest}, got {value}")
    if settings.environment.restart_every and settings.environment.backend == "envpool":
        raise UsageError("restart_every: EnvPool cannot begin an episode in one environment: --restart-every 0")
    if settings.policy.mirror and settings.environment.backend == "envpool":
        raise UsageError("mirror: the symmetries that are known are of Gymnasium's environments: --no-mirror")
    if not 0 <= settings.run.seed <= LARGEST_SEED:
        raise UsageError(f"seed must lie between 0 and {LARGEST_SEED}, got {settings.run.seed}")
    positive: dict[str, float | None] = {
        "env_timeout": settings.environment.env_timeout,
        "initial_std": settings.policy.initial_std,
        "final_std": settings.policy.final_std,
        "final_max_kl": settings.trust_region.final_max_kl,
        "value_learning_rate": settings.value.value_learning_rate,
        "vanilla_learning_rate": settings.vanilla_policy_gradient.vanilla_learning_rate,
        "penalty_learning_rate": settings.kl_penalty.penalty_learning_rate,
        "natural_learning_rate": settings.natural_policy_gradient.natural_learning_rate,
        "natural_max_kl": settings.natural_policy_gradient.natural_max_kl,
    }
    for name, number in positive.items():
        if number is not None and not 0 < number < math.inf:
            raise UsageError(f"{name} must be positive and finite, got {number}")


def _train(agent: tf_trpo.TRPO, settings: TrainSettings, folder: RunFolder, *, resume: bool) -> int | None:
    """Train to the end, or until a signal; that signal's number."""
    import keras

    from tf_trpo.callbacks import StopOnSignal
    from tf_trpo.environments import EnvironmentFailedError
    from tf_trpo.training import TrainingFailedError

    signals = StopOnSignal()
    # Not before the checkpoint is found to be whole, and of this run.
    begin_again = keras.callbacks.LambdaCallback(on_train_begin=lambda _: _begin_again(settings, folder))
    at_start = [begin_again] if resume else []
    resume = resume and _has_checkpoint(settings, folder)
    try:
        agent.fit(
            settings.environment.env,
            settings.run.total_steps,
            num_envs=settings.environment.num_envs,
            num_steps=settings.advantages.num_steps,
            backend=settings.environment.backend,
            env_timeout=settings.environment.env_timeout,
            restart_every=settings.environment.restart_every,
            seed=settings.run.seed,
            verbose=0 if settings.run.quiet else 1,
            max_faults=settings.run.max_faults,
            callbacks=[signals, *_callbacks(settings, folder, resume=resume), *at_start],
            resume_from=folder.checkpoints if resume else None,
        )
    except KeyboardInterrupt:
        return signal.SIGINT
    except (EnvironmentFailedError, TrainingFailedError) as error:
        agent.save(folder.agent)
        _say_how_to_go_on(agent, settings, folder)
        raise FailedError(" ".join([str(error), *getattr(error, "__notes__", ())])) from None
    except ValueError as error:
        if not resume:
            raise
        raise UsageError(str(error)) from None
    return signals.received


def _begin_again(settings: TrainSettings, folder: RunFolder) -> None:
    """Put down that the run has these settings, and has not ended."""
    # First: with the new settings, the old evaluation would say that the run is complete.
    folder.evaluation.unlink(missing_ok=True)
    folder.write_config(settings.flat())


def _has_checkpoint(settings: TrainSettings, folder: RunFolder) -> bool:
    """Whether a run goes on from a checkpoint; one that was killed before its first iteration begins anew.

    Raises:
      UsageError: there is none, and beginning anew would lose iterations.
    """
    if folder.has_checkpoint():
        return True
    if folder.has_iterations():
        raise UsageError(f"{folder.path} has iterations and no checkpoint to go on from: train it anew, elsewhere")
    if not settings.run.quiet:
        print(f"{folder.path} has no checkpoint and no iteration yet: it begins anew", file=sys.stderr)
    return False


def _evaluated(agent: tf_trpo.TRPO, settings: TrainSettings) -> dict[str, float]:
    from tf_trpo.environments import EnvironmentFailedError

    env = settings.environment.env
    try:
        return agent.evaluate(env, settings.run.eval_episodes, seed=settings.run.seed)
    except EnvironmentFailedError as error:
        raise FailedError(f"the agent is trained and saved, but {env} failed in its evaluation: {error}") from None


def _callbacks(settings: TrainSettings, folder: RunFolder, *, resume: bool) -> list[keras.callbacks.Callback]:
    from tf_trpo.callbacks import AnnealedStd, Checkpoint, Evaluate, HistoryCSV, TensorBoard

    run, policy = settings.run, settings.policy
    callbacks: list[keras.callbacks.Callback] = []
    if policy.final_std is not None:
        callbacks.append(AnnealedStd(policy.final_std, policy.std_steps))
    if run.eval_every:
        callbacks.append(Evaluate(settings.environment.env, run.eval_every, episodes=run.eval_episodes, seed=run.seed))
    board = TensorBoard(
        folder.tensorboard,
        hyperparameters=hyperparameters(settings.flat()),
        config={"settings": settings.flat(), "versions": folder.read_config()["versions"]},
        histogram_every=run.histogram_every,
        video=_video(settings) if run.video_every else None,
    )
    callbacks += [board, HistoryCSV(folder.history, append=resume)]
    # Last, so that a checkpoint is never ahead of the logs.
    every = run.checkpoint_every
    callbacks.append(Checkpoint(folder.checkpoints, every or None, at_start=every > 0))
    return callbacks


def _video(settings: TrainSettings) -> EpisodeVideo:
    from tf_trpo.callbacks import EpisodeVideo

    # No window is opened; SDL, which draws classic control, would look for a display and complain.
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    return EpisodeVideo(settings.environment.env, settings.run.video_every, seed=settings.run.seed)


def _show_evaluation(agent: tf_trpo.TRPO, folder: RunFolder, result: dict[str, float]) -> None:
    from tf_trpo.callbacks.tensorboard import add_final_evaluation

    add_final_evaluation(folder.tensorboard, int(agent.env_steps.numpy()), result["mean_return"], result["std_return"])


def _say_how_to_go_on(agent: tf_trpo.TRPO, settings: TrainSettings, folder: RunFolder) -> None:
    print(f"\nstopped after {int(agent.env_steps.numpy())} steps; the agent as it is: {folder.agent}")
    if folder.has_checkpoint():
        python = shlex.quote(_from_here(Path(sys.executable)))
        print(
            f"Go on with it:      {python} -m tf_trpo train --resume {shlex.quote(str(folder.path))}"
            f"{flag_for(settings.environment.env)}"
        )


def _say_what_next(settings: TrainSettings, folder: RunFolder, result: dict[str, float]) -> None:
    run_dir = shlex.quote(str(folder.path))
    python = shlex.quote(_from_here(Path(sys.executable)))
    tensorboard = shlex.quote(_from_here(Path(sys.executable).parent / "tensorboard"))
    print(
        f"\nMean return {result['mean_return']:.1f} +- {result['std_return']:.1f} over {result['episodes']} episodes "
        f"of {settings.environment.env} (deterministic actions).\n"
        f"Run folder: {folder.path}\n\n"
        f"Look at the run:    {tensorboard} --logdir {run_dir}\n"
        f"                    first the charts at http://localhost:6006/#custom_scalars\n"
        f"Evaluate again:     {python} -m tf_trpo evaluate {run_dir} --episodes 100{flag_for(settings.environment.env)}"
    )
    name = settings.environment.env.rpartition("/")[2]
    if settings.run.export:
        print(f"Serve the model:    {python} -m tf_trpo serve {shlex.quote(str(folder.saved_model))} --name {name}")
    else:
        print(f"Export for serving: {python} -m tf_trpo export {run_dir} --output saved_models/{name}")


def _from_here(path: Path) -> str:
    """The path, relative to the working folder where it is below that."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
