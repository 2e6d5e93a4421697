"""`export`: export a trained agent for serving."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tf_trpo.cli.parsing import Positional, parse
from tf_trpo.cli.play import PlayOptions, play
from tf_trpo.cli.startup import start_keras
from tf_trpo.experiment import Experiment, RunFolder
from tf_trpo.experiment.evaluating import evaluation_arguments, for_evaluation
from tf_trpo.experiment.imports import check_imports
from tf_trpo.experiment.model_card import FILM, write_model_card
from tf_trpo.messages import say
from tf_trpo.ranges import require
from tf_trpo.serving.metadata import ExportFormat

SAMPLED_EPISODES = 20
"""Episodes with sampled actions for the card; the run was evaluated with the most likely actions only."""


@dataclasses.dataclass(frozen=True)
class ExportOptions:
    """Export a trained agent as a model in TensorFlow Serving's layout, OUTPUT/VERSION."""

    run_dir: Positional[Path]
    """Folder of a run, as train writes it."""
    output: Path
    """Folder of the model, such as models/Hopper-v5; each export adds the next version."""
    format: ExportFormat = "saved_model"
    """saved_model for servers; litert (model.tflite) and onnx (model.onnx, extra onnx) for these runtimes."""
    warmup: bool = False
    """Add requests that TensorFlow Serving runs before it serves the version (extra warmup)."""
    card: bool = False
    """Write OUTPUT/README.md, a model card for Hugging Face's hub: command, commit, steps, seed, versions, returns
    (runs episodes with sampled actions). Also copy the agent to OUTPUT/agent.keras, where tf_trpo.load finds it."""
    film: bool = False
    """Film an episode as OUTPUT/film.gif, which the card shows (extra play)."""
    allow_import: bool = False
    """For card and film: allow environments of the form module:Class or module:Id, wrappers and cost functions to
    import their modules, which runs the modules' code."""

    def __post_init__(self) -> None:
        playable = self.format == "saved_model"
        require(playable or not self.film, "format", "saved_model with --film, which plays the model", self.format)
        require(playable or not self.card, "format", "saved_model with --card, which says how to serve it", self.format)


def main(argv: Sequence[str]) -> None:
    """Export the agent of a run and print the folder of the new version."""
    options = parse(ExportOptions, argv, "export")
    folder = RunFolder(options.run_dir)
    folder.check_trained()
    # A card shows the whole command of the training.
    experiment = Experiment.from_run(options.run_dir) if options.card else for_evaluation(folder)
    if options.card or options.film:
        check_imports(experiment.env, experiment.environment, allow_import=options.allow_import)
    evaluation, making = folder.read_evaluation(), experiment.environment.arguments()
    if options.film:
        _check_film(experiment, making)
    start_keras()
    import tf_trpo
    from tf_trpo.environments.costs import import_costs

    agent = tf_trpo.load(folder.agent)
    sampled: dict[str, float] | None = None
    # What may fail comes first: a running server loads a new version at once.
    if options.card:
        import_costs(experiment.environment.costs)
        how = {**evaluation_arguments(experiment), "stochastic": True, "info_keys": ()}
        sampled = agent.evaluate(experiment.env, SAMPLED_EPISODES, **how)
    version = agent.export(
        options.output,
        format=options.format,
        environment=experiment.env,
        environment_arguments=making,
        evaluation=evaluation,
        warmup=options.warmup,
    )
    film = options.output / FILM
    if options.film:
        play(PlayOptions(version, video=film, allow_import=options.allow_import))
    if options.card:
        if not options.film and film.exists():
            say(f"{film} shows an earlier version: the card does not show it")
        evaluations = {"deterministic": evaluation, "stochastic": sampled}
        write_model_card(Path(version), folder, int(agent.env_steps.numpy()), evaluations, film=options.film)
    print(version)


def _check_film(experiment: Experiment, making: Mapping[str, Any]) -> None:
    """Raise an error before the export if no film can be made: imageio is not installed, or nothing is rendered."""
    import imageio  # noqa: F401

    from tf_trpo.environments import check_rendering

    check_rendering(experiment.env, **making)
