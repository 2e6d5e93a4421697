"""The experiments of suites: the only file that uses the package's command line."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tf_trpo.cli.algorithms import check_algorithm
from tf_trpo.cli.model_card import write_model_card
from tf_trpo.cli.preset_files import as_options
from tf_trpo.cli.presets import parse_settings
from tf_trpo.cli.run_folder import RunFolder
from tf_trpo.cli.train import main as train


class Experiment(NamedTuple):
    """A run that can be trained.

    Attributes:
      env: Gymnasium id.
      changes: settings of `train`, where they differ from the preset's; "preset" names another than the environment's.
    """

    env: str
    changes: Mapping[str, Any]

    def flat(self) -> dict[str, Any]:
        """Give every setting by its name, as config.json holds them.

        Raises:
          UsageError: a setting is unknown, or belongs to another algorithm.
        """
        settings = parse_settings(self._options, prog="train")
        check_algorithm(settings)
        flat: dict[str, Any] = json.loads(json.dumps(settings.flat()))
        return flat

    def train(self, run_dir: Path) -> None:
        """Train and write the run folder.

        Args:
          run_dir: must not exist.

        Raises:
          RuntimeError: the training failed; the message is the last line that it printed.
        """
        said = io.StringIO()
        try:
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                train([*self._options, f"--run-dir={run_dir}"])
        except SystemExit:
            raise RuntimeError(said.getvalue().strip().rpartition("\n")[2]) from None

    @property
    def _options(self) -> list[str]:
        return [*as_options(self.changes, "the suite"), f"--env={self.env}"]


def write_card(
    version: Path, run_dir: Path, steps: int, evaluations: Mapping[str, Mapping[str, float]], seeds: str
) -> None:
    """Write the card of an exported model.

    Args:
      version: folder of the model's version, MODEL/VERSION.
      run_dir: folder of the run that the model comes from.
      steps: environment steps of the training.
      evaluations: by mode.
      seeds: how the run stands among the other seeds, as Markdown.
    """
    write_model_card(version, RunFolder(run_dir), steps, evaluations, seeds=seeds)
