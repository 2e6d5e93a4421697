"""`tune`: search for better settings, and check them on fresh seeds."""

from __future__ import annotations

import dataclasses
import shlex
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tf_trpo.cli.compiled import reuse_compiled_programs
from tf_trpo.cli.parsing import HELP, HELP_ALL, OptionParser, Repeated, groups_of, make, options_of, show_help
from tf_trpo.cli.startup import start_keras
from tf_trpo.cli.train import BY_SIGNAL, common_options, names_of_settings, read_experiment, whose_defaults
from tf_trpo.experiment import Experiment
from tf_trpo.experiment.conversion import leaves
from tf_trpo.experiment.imports import check_imports, flag_for
from tf_trpo.experiment.options import option_name
from tf_trpo.experiment.run_folder import folder_name
from tf_trpo.messages import say
from tf_trpo.tuning.space import NOT_SEARCHED, read_space
from tf_trpo.tuning.tuning import Tuning, TuningFailedError

if TYPE_CHECKING:
    from tf_trpo.tuning import TuningResult

COMMON = ("env", "seed", "algorithm", "num_envs", "eval_episodes", "threads", "quiet")
"""The settings of `train` that --help shows."""

REFUSED = {
    "total_steps": "the steps of a training are given by --steps",
    "eval_every": "the evaluations of a training are given by --evaluations",
    **dict.fromkeys(
        ("checkpoint_every", "histogram_every", "video_every", "export"),
        "the trainings of a search write no checkpoints, histograms, films or models",
    ),
}
"""Settings of `train` that a search sets itself, and why they cannot be given."""
WORDS = {"seed": "Seed of the search: of its sampler and, derived from it, of its trainings."}
"""Descriptions of settings that mean something else in a search."""


@dataclasses.dataclass(frozen=True)
class TuneOptions:
    """Options of a search."""

    trials: int = Tuning.trials
    """Number of trials; the first one has the default settings."""
    steps: int | None = None
    """Environment steps of each training; by default total_steps of the preset, as in train."""
    space: Path | None = None
    """YAML file with the search space, such as `max_kl: {low: 0.003, high: 0.1, log: true}` and
    `num_steps: [128, 256]`; by default the step's size and damping, gamma, gae_lambda, num_steps, the fit of the value
    function, initial_std, except those that are given as options."""
    seeds: int = Tuning.seeds
    """Trainings per trial, each with its own seed; a trial's value is the mean of their returns."""
    evaluations: int = Tuning.evaluations
    """Evaluations during each training, at which trials are compared."""
    prune: bool = Tuning.prune
    """Stop a trial early if its best evaluation so far is worse than the median, at the same evaluation, of the trials
    that were trained to the end."""
    check_seeds: int = Tuning.check_seeds
    """Number of fresh seeds on which the best and the default settings are compared at the end; 0 for no check."""
    jobs: int = Tuning.jobs
    """Number of processes that train at the same time."""
    output: Path | None = None
    """Folder of the search; by default tuning/ENV. If it holds the same search already, the search continues."""
    preset: Repeated[tuple[str, ...]] = ()
    """Preset with the default settings, as for train: a name, a YAML file, or none; may be given several times."""
    allow_import: bool = False
    """Allow an --env of the form module:Class or module:Id, wrappers and cost functions to import their modules, which
    runs the modules' code."""


def main(argv: Sequence[str]) -> None:
    """Search or continue a search, check the best settings, and print the result.

    Raises:
      TuningFailedError: the search failed, or only its check; then the result is printed nevertheless.
    """
    options, tuning, source = read_command([each for each in argv if each not in HELP])
    experiment = tuning.experiment
    if HELP & set(argv):
        _show_help(experiment, is_whole=HELP_ALL in argv)
    check_imports(experiment.env, experiment.environment, allow_import=options.allow_import)
    # Imported before TensorFlow, so that a user without Optuna gets the error at once.
    import tf_trpo.tuning.study  # noqa: F401

    if tuning.jobs == 1:
        # Several processes would inherit this one's cache, but not its number of threads, on which programs depend.
        reuse_compiled_programs(experiment.run.threads)
    start_keras(experiment.run.threads)
    if not experiment.run.quiet:
        say(f"default settings: {source}; trainings of {experiment.run.total_steps:,} steps")
    folder = options.output or Path("tuning") / folder_name(experiment.env)
    try:
        result = tuning.run(folder)
    except KeyboardInterrupt as stopped:
        say(f"\nstopped; the same command continues the search in {folder}")
        raise SystemExit(BY_SIGNAL + getattr(stopped, "number", signal.SIGINT)) from None
    _say(result)
    if result.check_failure is not None:
        raise TuningFailedError(f"{result.check_failure}; the same command repeats the check")


def read_command(argv: Sequence[str]) -> tuple[TuneOptions, Tuning, str]:
    """Parse a command line; return its options, the search, and a line that names the presets of the defaults.

    Raises:
      ValueError: an option, a preset or the search space cannot be read, or a setting cannot have its value.
    """
    return _command(OptionParser("tune", TuneOptions, Experiment).read(argv, _suggested))


def _suggested(given: Mapping[str, Any]) -> set[str]:
    """Return the names of the options that can be given with others."""
    settings = names_of_settings(lambda: _command(given)[1].experiment, given)
    return {*leaves(TuneOptions), *settings} - REFUSED.keys()


def _command(given: Mapping[str, Any]) -> tuple[TuneOptions, Tuning, str]:
    options = make(TuneOptions, given)
    for name, reason in REFUSED.items():
        if name in given:
            raise ValueError(f"{option_name(name)}: {reason}")
    settings = {name: value for name, value in given.items() if not hasattr(options, name)}
    steps = {} if options.steps is None else {"total_steps": options.steps}
    experiment, source = read_experiment(options.preset, {**settings, **steps})
    space = None if options.space is None else read_space(options.space)
    # Without settings such as quiet, so that a search may be continued with others of them.
    fixed = () if space else tuple(sorted(settings.keys() - NOT_SEARCHED))
    made: dict[str, Any] = {"experiment": experiment, "space": space, "fixed_settings": fixed}
    names = [field.name for field in dataclasses.fields(Tuning) if field.name not in made]
    return options, Tuning(**made, **{name: getattr(options, name) for name in names}), source


def _show_help(experiment: Experiment, *, is_whole: bool) -> None:
    which = "All of them follow" if is_whole else f"{HELP_ALL} shows all of them"
    description = (
        "Search for settings with a larger return after the same number of steps, by Optuna (extra tune), and compare "
        "the best with the default settings on seeds that the search has not seen.\n\nThe settings of train are "
        f"options too, and the same for all trials. {which}; only {', '.join(map(option_name, REFUSED))} are refused, "
        f"since a search sets them itself. {whose_defaults(experiment, is_whole=is_whole)} The same command continues "
        "a search that was stopped or killed."
    )
    common = {"settings": common_options(experiment, [(name,) for name in COMMON])}
    groups = {
        title: {
            name: option._replace(words=WORDS.get(name, option.words))
            for name, option in group.items()
            if name not in REFUSED
        }
        for title, group in (groups_of(experiment, "settings") if is_whole else common).items()
    }
    show_help("tune", description, {"options of the search": options_of(TuneOptions), **groups}, has_more=True)


def _say(result: TuningResult) -> None:
    settings = "  ".join(
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in result.settings.items()
    )
    preset = shlex.quote(str(result.preset))
    flag = flag_for(result.experiment.env, result.experiment.environment)
    say(
        f"\nTrials: {', '.join(f'{count} {state}' for state, count in sorted(result.trials.items()))}\n"
        f"Best settings:      {settings}\n"
        f"{result.verdict}\n\n"
        f"Folder:             {result.folder} (trials.png, importances.png, result.json, the runs of all trials)\n"
        f"Train with them:    python -m tf_trpo train --preset {preset}{flag}\n"
        f"                    ({result.experiment.run.total_steps:,} steps, as in the search, or --total-steps N)",
        "stdout",
    )
