"""Write the model card of an exported model in Hugging Face's format: how it was trained, and its returns."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path

import yaml

from tf_trpo.experiment.experiment import Experiment
from tf_trpo.experiment.imports import flag_for
from tf_trpo.experiment.options import as_options
from tf_trpo.experiment.run_folder import RunFolder
from tf_trpo.experiment.settings import OF_OUTPUT
from tf_trpo.files import AGENT_FILE, replaced_at_once, write_whole
from tf_trpo.messages import rounded

ACTIONS = {"deterministic": "most likely", "stochastic": "sampled"}
"""Kinds of evaluations, and the actions that they take."""
CARD, FILM = "README.md", "film.gif"
_TASK = "reinforcement-learning"

Evaluations = Mapping[str, Mapping[str, float] | None]
"""Results of `TRPO.evaluate` under "deterministic" and "stochastic"; None for an evaluation that was not run."""


def write_model_card(
    version: Path, run: RunFolder, steps: int, evaluations: Evaluations, *, seeds: str = "", film: bool = True
) -> None:
    """Write MODEL/README.md for the version that was just exported, and copy the run's agent to MODEL/agent.keras.

    The folder then has the files that Hugging Face's hub and `tf_trpo.load` look for.

    Args:
      version: folder of the version, MODEL/VERSION.
      run: the run that was exported.
      steps: environment steps of the training.
      evaluations: evaluations of the run, at least one.
      seeds: Markdown that compares the run with other seeds.
      film: whether MODEL/film.gif, if there is one, shows this version.

    Raises:
      OSError: the card or the agent cannot be written.
    """
    experiment, config = Experiment.from_run(run.path), run.read_config()
    returns = "\n".join(
        f"| {ACTIONS[mode]} | {rounded(found['mean_return'])} ± {rounded(found['std_return'])} "
        f"| {found['mean_length']:.1f} | {found['episodes']:.0f} |"
        for mode, found in _made(evaluations)
    )
    among_seeds = f"\n{seeds}" if seeds else ""
    versions = ", ".join(f"{name} {number}" for name, number in config["versions"].items())
    trained = f"trained for {steps:,} environment steps with seed {experiment.run.seed}"
    algorithm = str(experiment.flat()["algorithm"])
    card = f"""{card_head(version.parent, experiment.env, algorithm, evaluations, film=film)}
Version {version.name}: a policy for {experiment.env}, {trained}.

    {training_command(experiment)}

| actions | return, mean ± standard deviation over episodes | length | episodes |
|---|---|---|---|
{returns}
{among_seeds}
- Commit: {config.get("commit") or "not known"}
- Versions: {versions}
- Platform: {config.get("platform") or "not known"}

{CARD_FOOT}"""
    with replaced_at_once(version.parent / AGENT_FILE) as aside:
        shutil.copyfile(run.agent, aside)
    write_whole(version.parent / CARD, card)


def card_head(
    model: Path,
    environment: str,
    algorithm: str,
    evaluations: Evaluations,
    *,
    license_id: str | None = None,
    film: bool = True,
) -> str:
    """Return the head of a card: the metadata for Hugging Face's hub as YAML, a title, and the film if there is one.

    Args:
      model: folder of the model.
      environment: Gymnasium id.
      algorithm: name of the algorithm.
      evaluations: at least one; leader boards use the first.

    Source:
      https://github.com/huggingface/hub-docs/blob/main/modelcard.md
    """
    name = model.resolve().name
    metrics = [
        {
            "type": "mean_reward",
            "value": f"{rounded(found['mean_return'])} +/- {rounded(found['std_return'])}",
            "name": f"mean_reward, {ACTIONS[mode]} actions",
        }
        for mode, found in _made(evaluations)
    ]
    result = {
        "task": {"type": _TASK, "name": _TASK},
        "dataset": {"type": environment, "name": environment},
        "metrics": metrics,
    }
    metadata = {
        **({} if license_id is None else {"license": license_id}),
        "library_name": "tf_trpo",
        "pipeline_tag": _TASK,
        "tags": [environment, f"deep-{_TASK}", _TASK, algorithm, "tensorflow", "keras"],
        "model-index": [{"name": name, "results": [result]}],
    }
    shown = f"\n![The policy in {environment}]({FILM})\n" if film and (model / FILM).is_file() else ""
    return f"---\n{yaml.safe_dump(metadata, sort_keys=False)}---\n\n# {name}\n{shown}"


CARD_FOOT = f"""The folder of this card has:

- {AGENT_FILE}: `tf_trpo.load(FOLDER)` returns the agent, which can act, be evaluated and be trained further;
- a folder for each exported version: `python -m tf_trpo play FOLDER` runs episodes with the newest SavedModel, and
  `python -m tf_trpo serve FOLDER` answers requests.

All of these need tf_trpo, which is installed from its repository: `pip install -e .` in the folder of the checkout.
The checkout's docs/serving.md describes endpoints, servers and limits. TensorFlow Serving needs only the folder of the
version.
"""
"""The end of a card."""


def _made(evaluations: Evaluations) -> list[tuple[str, Mapping[str, float]]]:
    """Return the evaluations that were run, with their kinds."""
    return [(mode, found) for mode in ACTIONS if (found := evaluations.get(mode)) is not None]


def training_command(experiment: Experiment) -> str:
    """Return the command that repeats a run with the commit that the card names.

    The command has every setting on which the weights depend and that differs from its default, and no preset, because
    a preset may change.
    """
    chosen = {"env": experiment.env, **experiment.changes()}
    chosen = {name: value for name, value in chosen.items() if name not in OF_OUTPUT}
    words = ["python", "scripts/train.py", "--preset", "none", *as_options(chosen)]
    return shlex.join(words) + flag_for(experiment.env, experiment.environment)
