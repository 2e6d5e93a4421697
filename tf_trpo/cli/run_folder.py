"""The folder of a run: what is in it, and where."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
import platform
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tf_trpo.cli.errors import UsageError
from tf_trpo.files import read_small, write_whole
from tf_trpo.serving.metadata import installed_versions

if TYPE_CHECKING:
    import tf_trpo
    from tf_trpo.figures.histories import Column

_PACKAGES = ("tf_trpo", "tensorflow", "keras", "tensorflow-probability", "gymnasium", "numpy", "ai-edge-litert")


class RunFolder:
    """Paths of a run.

    Attributes:
      path: the folder.
      config: JSON: every setting, package versions, the platform, the commit.
      history: CSV: one row an iteration.
      events: text: what went wrong, and when.
      agent: the final agent.
      checkpoints: agents along the way.
      tensorboard: event files.
      evaluation: JSON: the last evaluation.
      saved_model: the exported model.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config = self.path / "config.json"
        self.history = self.path / "history.csv"
        self.events = self.path / "events.log"
        self.agent = self.path / "agent.keras"
        self.checkpoints = self.path / "checkpoints"
        self.tensorboard = self.path / "tensorboard"
        self.evaluation = self.path / "evaluation.json"
        self.saved_model = self.path / "saved_model"

    def create(self, settings: dict[str, Any]) -> None:
        """Make the folder and write config.json.

        Raises:
          UsageError: the folder exists, or cannot be made.
        """
        missing = [folder for folder in (self.path, *self.path.parents) if not os.path.lexists(folder)]
        try:
            self.path.mkdir(parents=True)
        except FileExistsError:
            raise UsageError(f"run folder {self.path} exists; name another by --run-dir") from None
        except (OSError, ValueError) as error:
            for folder in missing:
                with contextlib.suppress(OSError, ValueError):
                    folder.rmdir()
            reason = getattr(error, "strerror", None) or error
            raise UsageError(f"run folder {self.path} cannot be made: {reason}; name another by --run-dir") from None
        self.write_config(settings)

    def write_config(self, settings: dict[str, Any]) -> None:
        """Write config.json, or replace it at once."""
        config = {
            "settings": settings,
            "versions": installed_versions(_PACKAGES),
            "platform": platform.platform(),
            "commit": commit_of(Path(__file__).parents[1]),
        }
        write_whole(self.config, json.dumps(config, indent=2) + "\n")

    def settings(self) -> dict[str, Any]:
        """The settings of a run that is there.

        Raises:
          UsageError: the folder holds no run, or one that has not ended.
        """
        if not self.agent.is_file():
            raise UsageError(f"{self.path} holds no trained agent ({self.agent.name} is missing)")
        return self.read_settings()

    def read_settings(self) -> dict[str, Any]:
        """The settings of a run that is there, whether it has ended or not.

        Raises:
          UsageError: the folder holds no run.
        """
        return self.read_config()["settings"]

    def read_config(self) -> dict[str, Any]:
        """All of config.json: settings, versions, platform.

        Raises:
          UsageError: the folder holds no run.
        """
        try:
            config = json.loads(read_small(self.config))
            settings = config["settings"]
        except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
            reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
            raise UsageError(f"{self.config} cannot be read as that of a run: {reason}") from None
        if not isinstance(settings, dict):
            raise UsageError(f"{self.config} holds no settings")
        return config

    def read_history(self, columns: Sequence[str]) -> dict[str, Column]:
        """The columns of history.csv, a number for each iteration.

        Args:
          columns: those that must be there.

        Raises:
          UsageError: the file cannot be read, is not whole, or lacks one of them.
        """
        from tf_trpo.figures.histories import read_history

        try:
            history = read_history(self.history)
        except OSError as error:
            raise UsageError(f"{self.history} cannot be read: {error.strerror}") from None
        except ValueError as error:
            raise UsageError(str(error)) from None
        missing = [name for name in columns if name not in history]
        if missing:
            raise UsageError(f"{self.history} has no column {', '.join(missing)}; there are {', '.join(history)}")
        return history

    def read_evaluation(self) -> dict[str, float] | None:
        """The last evaluation; None of a run that was not evaluated.

        Raises:
          UsageError: its file cannot be read.
        """
        try:
            content = json.loads(self.evaluation.read_text(encoding="utf-8"))
            return {str(name): float(value) for name, value in content.items()}
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise UsageError(f"{self.evaluation} cannot be read: {error}") from None

    def is_complete(self) -> bool:
        """Whether training has ended and was evaluated; half a file does not count."""
        try:
            return bool(self.read_evaluation())
        except UsageError:
            return False

    def has_checkpoint(self) -> bool:
        """Whether there is a checkpoint, whole or not."""
        from tf_trpo.training.checkpoints import is_checkpoint

        return self.checkpoints.is_dir() and any(is_checkpoint(path) for path in self.checkpoints.iterdir())

    def has_iterations(self) -> bool:
        """Whether the history has a row."""
        if not self.history.exists():
            return False
        with open(self.history, encoding="utf-8") as file:
            return sum(1 for _ in itertools.islice(file, 2)) == 2

    def check_no_links(self) -> None:
        """Refuse a folder with symbolic links in it: what is written to it would be written elsewhere.

        Raises:
          UsageError: there is one.
        """
        for folder, folders, files in os.walk(self.path):
            for name in (*folders, *files):
                path = Path(folder) / name
                if path.is_symlink():
                    raise UsageError(f"{path} is a symbolic link: a run that has one is not gone on with")

    def load_agent(self) -> tf_trpo.TRPO:
        """The final agent.

        Raises:
          UsageError: its file cannot be read.
        """
        import tf_trpo

        try:
            return tf_trpo.load(self.agent)
        except ValueError as error:
            raise UsageError(str(error)) from None


@contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """Add what the library's loggers say to a file that is made then, and to standard error."""
    file = logging.FileHandler(path, delay=True, encoding="utf-8")
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    handlers = [file, *([logging.lastResort] if logging.lastResort else [])]
    logger = logging.getLogger("tf_trpo")
    for handler in handlers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for handler in handlers:
            logger.removeHandler(handler)
        file.close()


def free_run_dir(environment: str, seed: int) -> Path:
    """The default folder of a run: runs/ENV-SEED, or the first of runs/ENV-SEED-2, -3 ... that is free."""
    first = Path("runs") / f"{environment.replace('/', '-')}-{seed}"
    names = (first, *(first.with_name(f"{first.name}-{number}") for number in range(2, 10_000)))
    return next((name for name in names if not name.exists()), first)


def commit_of(package: Path) -> str | None:
    """The commit of the checkout that a package is in, "-dirty" when its own files differ; None outside of one.

    Documents and tables of results change while runs are trained: they are no part of what a run depends on.
    """
    commit, changes = _git(package, "rev-parse", "HEAD"), _git(package, "status", "--porcelain", "--", ".")
    if commit is None or changes is None:
        return None
    return f"{commit}-dirty" if changes else commit


def _git(folder: Path, *arguments: str) -> str | None:
    """What git says in a folder; None if it is not there, or fails."""
    try:
        return subprocess.run(
            ["git", "--no-optional-locks", *arguments],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
