"""`train`: train an agent and write a run folder."""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tf_trpo.cli.compiled import reuse_compiled_programs
from tf_trpo.cli.parsing import (
    HELP,
    HELP_ALL,
    Option,
    OptionParser,
    Repeated,
    groups_of,
    make,
    options_of,
    show_help,
)
from tf_trpo.cli.startup import start_keras
from tf_trpo.experiment import Experiment, RunFolder
from tf_trpo.experiment.conversion import leaves
from tf_trpo.experiment.imports import check_imports, flag_for
from tf_trpo.experiment.presets import bundled_for, bundled_presets
from tf_trpo.experiment.run_folder import free_run_folder
from tf_trpo.messages import rounded, say

if TYPE_CHECKING:
    from tf_trpo.experiment.run import Run, TrainedRun

BY_SIGNAL = 128
"""Added to a signal's number to give the exit status, as shells do: 130 after Ctrl-C, 143 after SIGTERM."""
COMMON: tuple[tuple[str, ...], ...] = (
    ("env",),
    ("total_steps",),
    ("seed",),
    ("algorithm",),
    ("max_kl", "natural_max_kl", "target_kl", "vanilla_learning_rate", "clip_range"),
    ("num_envs",),
    ("num_steps",),
    ("gamma",),
    ("hidden_sizes",),
    ("eval_every",),
)
"""The most common settings, which --help shows; of each group, the one that the algorithm has."""
NO_PRESET = "none"
"""The value of --preset that uses no preset."""


@dataclasses.dataclass(frozen=True)
class CommandOptions:
    """Options that are not settings of the experiment."""

    run_dir: Path | None = None
    """Folder of the run, which must not exist; by default runs/ENV-SEED, or runs/ENV-SEED-2 and so on."""
    preset: Repeated[tuple[str, ...]] = ()
    """Preset with default settings: a name, a YAML file, or none; may be given several times."""
    resume: Path | None = None
    """Folder of a run that was stopped or killed, to continue with its own settings."""
    allow_import: bool = False
    """Allow an --env of the form module:Class or module:Id, wrappers and cost functions to import their modules, which
    runs the modules' code."""


class Command(NamedTuple):
    """A parsed command line: its options, the experiment, and a line that names the presets of the experiment."""

    options: CommandOptions
    experiment: Experiment
    source: str


def main(argv: Sequence[str]) -> None:
    """Train or resume, evaluate, save, and print what to do next."""
    options, experiment, source = read_command([each for each in argv if each not in HELP])
    if HELP & set(argv):
        _show_help(experiment, is_whole=HELP_ALL in argv)
    check_imports(experiment.env, experiment.environment, allow_import=options.allow_import)
    reuse_compiled_programs(experiment.run.threads)
    start_keras(experiment.run.threads)
    from keras.callbacks import LambdaCallback

    from tf_trpo.environments import EnvironmentFailedError
    from tf_trpo.experiment.run import Run
    from tf_trpo.training import TrainingFailedError

    named, free = options.resume or options.run_dir, free_run_folder(experiment.env, experiment.run.seed)
    with contextlib.nullcontext(RunFolder(named)) if named else free as folder:
        run = Run(experiment, folder, resume=options.resume is not None)
        silent = experiment.run.quiet or not source
        say_source = LambdaCallback(on_train_begin=lambda _: None if silent else say(source))
        try:
            trained = run.train([say_source])
        except (EnvironmentFailedError, TrainingFailedError):
            # The agent is saved.
            if run.begun:
                _say_how_to_resume(run)
            raise
    if trained.stopped_by is not None:
        _say_how_to_resume(run)
        raise SystemExit(BY_SIGNAL + trained.stopped_by)
    if not experiment.run.quiet:
        _say_what_next(run, trained)


def read_command(argv: Sequence[str]) -> Command:
    """Parse a command line; presets override the defaults, and options override the presets.

    Args:
      argv: the arguments after `train`, without --help.

    Raises:
      ValueError: an option or a preset cannot be read, or a setting cannot have its value.
    """
    return _command(OptionParser("train", CommandOptions, Experiment).read(argv, _suggested))


def _command(given: Mapping[str, Any]) -> Command:
    options = make(CommandOptions, given)
    settings = {name: value for name, value in given.items() if not hasattr(options, name)}
    presets = list(options.preset)
    if options.resume is not None:
        if presets or options.run_dir:
            raise ValueError("a resumed run keeps its settings and its folder: only --resume names them")
        return Command(options, Experiment.from_run(options.resume).replace(**settings), "")
    return Command(options, *read_experiment(presets, settings))


def _suggested(given: Mapping[str, Any]) -> set[str]:
    """Return the names of the options that can be given with others."""
    return {*leaves(CommandOptions), *names_of_settings(lambda: _command(given).experiment, given)}


def names_of_settings(make_experiment: Callable[[], Experiment], given: Mapping[str, Any]) -> set[str]:
    """Return the names of the settings of an experiment; if it is refused, of one that has its algorithm alone."""
    algorithm = {name: given[name] for name in ("algorithm",) if name in given}
    for make_one in (make_experiment, lambda: Experiment().replace(**algorithm)):
        with contextlib.suppress(ValueError):
            return {*make_one().flat()}
    return {*Experiment().flat()}


def read_experiment(presets: Sequence[str], settings: Mapping[str, Any]) -> tuple[Experiment, str]:
    """Make the experiment of presets and settings; also return a line that names the presets.

    Raises:
      ValueError: a preset cannot be read, or a setting cannot have its value.
    """
    if list(presets) == [NO_PRESET]:
        return Experiment().replace(**settings), f"preset {NO_PRESET}"
    if NO_PRESET in presets:
        raise ValueError(f"--preset {NO_PRESET} cannot be combined with another preset")
    experiment = Experiment.from_presets(presets, settings)
    chosen = bundled_for(experiment.env, leaves(Experiment))
    if presets:
        source = f"preset {', '.join(presets)}"
    elif chosen:
        source = f"preset {chosen[0].name}, for {experiment.env}"
    else:
        source = f"preset {NO_PRESET}: no bundled one names {experiment.env}"
    return experiment, source


def common_options(experiment: Experiment, groups: Sequence[Sequence[str]]) -> dict[str, Option]:
    """Return the options of some settings of an experiment: of each group of names, the first that it has."""
    known = {name: option for part in groups_of(experiment, "settings").values() for name, option in part.items()}
    names = [next(name for name in group if name in known) for group in groups]
    return {name: known[name] for name in names}


def _show_help(experiment: Experiment, *, is_whole: bool) -> None:
    own = {"options of the command": options_of(CommandOptions)}
    count = len(experiment.flat())
    which = (
        "All settings of the algorithm follow, grouped by topic; --algorithm NAME shows those of another one."
        if is_whole
        else f"These are the most common settings; {HELP_ALL} shows all {count}."
    )
    description = (
        "Train an agent by Trust Region Policy Optimization, or by one of the algorithms that came before or after.\n\n"
        f"{which} {whose_defaults(experiment, is_whole=is_whole)} They come from the preset that names --env, or from "
        f"--preset. Bundled presets: {', '.join(bundled_presets())}; --preset {NO_PRESET} uses none. Options override "
        "presets."
    )
    settings = groups_of(experiment, "settings") if is_whole else {"settings": common_options(experiment, COMMON)}
    show_help("train", description, {**settings, **own}, has_more=True)


def whose_defaults(experiment: Experiment, *, is_whole: bool) -> str:
    """Return a sentence of the help that names the environment whose defaults the help shows."""
    again = HELP_ALL if is_whole else "--help"
    return f"The defaults shown are those of {experiment.env}; --env ENV {again} shows those of ENV."


def _say_how_to_resume(run: Run) -> None:
    text = f"\nstopped after {int(run.agent.env_steps.numpy())} steps; the agent as it is: {run.folder.agent}"
    if run.folder.has_checkpoint():
        text += f"\nContinue it:        {_program()} -m tf_trpo train --resume {_quoted(run.folder.path)}{_flag(run)}"
    say(text, "stdout")


def _say_what_next(run: Run, trained: TrainedRun) -> None:
    env, result = run.experiment.env, trained.evaluation
    assert result is not None, "the run was not stopped"
    run_dir, name = _quoted(run.folder.path), env.replace(":", "/").rpartition("/")[2]
    if run.experiment.run.export:
        last = f"Serve the model:    {_program()} -m tf_trpo serve {_quoted(run.folder.saved_model)} --name {name}"
    else:
        last = f"Export for serving: {_program()} -m tf_trpo export {run_dir} --output models/{name}"
    say(
        f"\nMean return {rounded(result['mean_return'])} +- {rounded(result['std_return'])} "
        f"over {result['episodes']} episodes of {env} (deterministic actions).\n"
        f"Run folder: {run.folder.path}\n\n"
        f"Look at the run:    {_program('tensorboard')} --logdir {run_dir}\n"
        f"                    first the charts at http://localhost:6006/#custom_scalars\n"
        f"Evaluate again:     {_program()} -m tf_trpo evaluate {run_dir} --episodes 100{_flag(run)}\n"
        f"{last}",
        "stdout",
    )


def _flag(run: Run) -> str:
    return flag_for(run.experiment.env, run.experiment.environment)


def _program(name: str = Path(sys.executable).name) -> str:
    """Return the path of a program in Python's folder, relative to the working folder if it is inside."""
    path = Path(sys.executable).with_name(name)
    return _quoted(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
