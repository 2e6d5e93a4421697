"""The card of an exported model: how it came to be, and what it is worth."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tf_trpo.cli.preset_files import as_options
from tf_trpo.cli.presets import NO_PRESET
from tf_trpo.cli.run_folder import RunFolder, write_whole
from tf_trpo.cli.settings import TrainSettings

CARD_FILE = "README.md"
ACTIONS = {"deterministic": "most likely", "stochastic": "sampled"}
"""Which actions an evaluation takes."""
_NOT_OF_THE_RESULT = {"run_dir", "export", "quiet"}


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
    write_whole(version.parent / CARD_FILE, _card(version, run.read_config(), steps, evaluations, seeds))


def training_command(settings: dict[str, Any]) -> str:
    """The command that repeats a run: every setting that differs from its default.

    No preset, though one may have set them: its figures may be others one day.
    """
    defaults = json.loads(json.dumps(TrainSettings().flat()))
    chosen = {
        name: value
        for name, value in settings.items()
        if name not in _NOT_OF_THE_RESULT and (name == "env" or value != defaults.get(name))
    }
    return shlex.join(["python", "scripts/train.py", "--preset", NO_PRESET, *as_options(chosen, "config.json")])


def _card(
    version: Path,
    config: dict[str, Any],
    steps: int,
    evaluations: Mapping[str, Mapping[str, float] | None],
    seeds: str,
) -> str:
    settings = config["settings"]
    returns = "\n".join(
        f"| {actions} | {found['mean_return']:.1f} ± {found['std_return']:.1f} | {found['mean_length']:.1f} "
        f"| {found['episodes']:.0f} |"
        for mode, actions in ACTIONS.items()
        if (found := evaluations[mode]) is not None
    )
    among_seeds = f"\n{seeds}" if seeds else ""
    versions = ", ".join(f"{name} {number}" for name, number in config["versions"].items())
    trained = f"trained for {steps:,} environment steps with seed {settings['seed']}"
    return f"""# {version.parent.name}

Version {version.name}: a policy for {settings["env"]}, {trained}.

    {training_command(settings)}

| actions | return, mean ± standard deviation over episodes | length | episodes |
|---|---|---|---|
{returns}
{among_seeds}
- Commit: {config.get("commit") or "not known"}
- Versions: {versions}
- Platform: {config["platform"]}

Endpoints, servers and limits: docs/serving.md.
"""
