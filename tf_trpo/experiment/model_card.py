"""The card of an exported model: how it came to be, and what it is worth."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tf_trpo.experiment.experiment import Experiment
from tf_trpo.experiment.run_folder import RunFolder
from tf_trpo.files import write_whole

ACTIONS = {"deterministic": "most likely", "stochastic": "sampled"}
"""Which actions an evaluation takes."""
_NOT_OF_THE_RESULT = {"export", "quiet"}


def write_model_card(
    version: Path, run: RunFolder, steps: int, evaluations: Mapping[str, Mapping[str, float] | None], *, seeds: str = ""
) -> None:
    """Write MODEL/README.md for the version that was just exported.

    Args:
      version: its folder, MODEL/VERSION.
      run: the run that it is of.
      steps: environment steps of the training.
      evaluations: of that run, "deterministic" and "stochastic"; None of one that was not made.
      seeds: how it stands among other seeds, in Markdown.

    Raises:
      OSError: the card cannot be written.
    """
    experiment, config = Experiment.from_run(run.path), run.read_config()
    returns = "\n".join(
        f"| {actions} | {found['mean_return']:.1f} ± {found['std_return']:.1f} | {found['mean_length']:.1f} "
        f"| {found['episodes']:.0f} |"
        for mode, actions in ACTIONS.items()
        if (found := evaluations[mode]) is not None
    )
    among_seeds = f"\n{seeds}" if seeds else ""
    versions = ", ".join(f"{name} {number}" for name, number in config["versions"].items())
    trained = f"trained for {steps:,} environment steps with seed {experiment.run.seed}"
    card = f"""# {version.parent.name}

Version {version.name}: a policy for {experiment.env}, {trained}.

    {training_command(experiment)}

| actions | return, mean ± standard deviation over episodes | length | episodes |
|---|---|---|---|
{returns}
{among_seeds}
- Commit: {config.get("commit") or "not known"}
- Versions: {versions}
- Platform: {config.get("platform") or "not known"}

Endpoints, servers and limits: docs/serving.md.
"""
    write_whole(version.parent / "README.md", card)


def training_command(experiment: Experiment) -> str:
    """Write the command that repeats a run: every setting that differs from its default.

    The command names no preset: what a preset sets may be something else one day.
    """
    settings = experiment.flat()
    choices = {"algorithm": "trpo", "radius": "fixed"}
    defaults = Experiment().replace(**{name: settings[name] for name in choices if name in settings}).flat() | choices
    chosen = {
        name: value
        for name, value in settings.items()
        if name not in _NOT_OF_THE_RESULT and (name == "env" or value != defaults[name])
    }
    return shlex.join(["python", "scripts/train.py", "--preset", "none", *_as_arguments(chosen)])


def _as_arguments(settings: Mapping[str, Any]) -> list[str]:
    """Write settings as the options that give them."""
    arguments: list[str] = []
    for name, value in settings.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            arguments.append(f"--{option}" if value else f"--no-{option}")
        else:
            arguments += [f"--{option}", *map(str, value if isinstance(value, list | tuple) else [value])]
    return arguments
