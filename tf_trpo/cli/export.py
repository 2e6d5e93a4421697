"""`export`: write a model for serving."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import tyro

from tf_trpo.cli.environment_id import check_environment_id
from tf_trpo.cli.errors import UsageError, one_line_errors
from tf_trpo.cli.model_card import write_model_card
from tf_trpo.cli.parsing import parse
from tf_trpo.cli.run_folder import RunFolder
from tf_trpo.cli.startup import start_tensorflow

SAMPLED_EPISODES = 20
"""For the card: the run itself has an evaluation with the most likely actions only."""


@dataclasses.dataclass(frozen=True)
class ExportSettings:
    """Write a trained agent as a model in TensorFlow Serving's layout, OUTPUT/VERSION."""

    run_dir: tyro.conf.Positional[Path]
    """Folder of a run, as train writes it."""
    output: Path
    """Folder of the model, such as saved_models/Hopper-v5; each export adds the next version."""
    format: Literal["saved_model", "litert", "onnx"] = "saved_model"
    """saved_model for servers; litert (model.tflite) and onnx (model.onnx, extra onnx) for runtimes of those names."""
    warmup: bool = False
    """Add requests that TensorFlow Serving runs before it takes the version into service (extra warmup)."""
    card: bool = False
    """Write OUTPUT/README.md: command, commit, steps, seed, versions, returns (runs episodes with sampled actions)."""
    allow_import: bool = False
    """For the card: let an id with a module prefix, module:Id, import that module, which runs its code."""


def main(argv: Sequence[str]) -> None:
    """Parse options, export, print the folder."""
    with one_line_errors():
        settings: ExportSettings = parse(ExportSettings, argv, "export")
        folder = RunFolder(settings.run_dir)
        trained = folder.settings()
        if settings.card:
            check_environment_id(trained.get("env"), allow_import=settings.allow_import)
        evaluation = folder.read_evaluation()
        start_tensorflow()
        agent = folder.load_agent()
        try:
            version = agent.export(
                settings.output,
                format=settings.format,
                environment=trained.get("env"),
                evaluation=evaluation,
                warmup=settings.warmup,
            )
            if settings.card:
                sampled = agent.evaluate(trained["env"], SAMPLED_EPISODES, stochastic=True, seed=trained["seed"])
                evaluations = {"deterministic": evaluation, "stochastic": sampled}
                write_model_card(Path(version), folder, int(agent.env_steps.numpy()), evaluations)
        except (OSError, ValueError, ImportError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UsageError(f"{settings.output} cannot be written: {reason}") from None
    print(version)
