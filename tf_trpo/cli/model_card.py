"""The card of an exported model: how it came to be, and what it is worth."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tf_trpo.cli.preset_files import as_options
from tf_trpo.cli.presets import NO_PRESET
from tf_trpo.cli.run_folder import RunFolder, write_whole
from tf_trpo.cli.settings import TrainSettings

if TYPE_CHECKING:
    import tf_trpo

CARD_FILE = "README.md"
SAMPLED_EPISODES = 20
_NOT_OF_THE_RESULT = {"run_dir", "export", "quiet"}


def write_model_card(version: Path, run: RunFolder, agent: tf_trpo.TRPO) -> None:
    """Write MODEL/README.md for the version that was just exported.

    Args:
      version: its folder, MODEL/VERSION.
      run: the run that it is of.
      agent: the agent of that run; runs episodes with sampled actions, which the run has not.
    """
    config = json.loads(run.config.read_text(encoding="utf-8"))
    settings = config["settings"]
    sampled = agent.evaluate(settings["env"], SAMPLED_EPISODES, stochastic=True, seed=settings["seed"])
    evaluations = {"most likely": run.read_evaluation(), "sampled": sampled}
    write_whole(version.parent / CARD_FILE, _card(version, config, int(agent.env_steps.numpy()), evaluations))


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


def _card(version: Path, config: dict[str, Any], steps: int, evaluations: dict[str, dict[str, float] | None]) -> str:
    settings = config["settings"]
    returns = "\n".join(
        f"| {actions} | {found['mean_return']:.1f} ± {found['std_return']:.1f} | {found['mean_length']:.1f} "
        f"| {found['episodes']:.0f} |"
        for actions, found in evaluations.items()
        if found is not None
    )
    versions = ", ".join(f"{name} {number}" for name, number in config["versions"].items())
    trained = f"trained for {steps:,} environment steps with seed {settings['seed']}"
    return f"""# {version.parent.name}

Version {version.name}: a policy for {settings["env"]}, {trained}.

    {training_command(settings)}

| actions | return, mean ± standard deviation over episodes | length | episodes |
|---|---|---|---|
{returns}

- Commit: {config.get("commit") or "not known"}
- Versions: {versions}
- Platform: {config["platform"]}

Endpoints, servers and limits: docs/serving.md.
"""
