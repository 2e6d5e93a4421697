"""The folder of a run and its files."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tf_trpo.files import AGENT_FILE, read_small, write_whole
from tf_trpo.locks import locked


class RunFolder:
    """The paths of a run's files, and methods to read and write some of them.

    Args:
      path: the folder.
      reserved: the folder was made and locked for this run already (`free_run_folder`).
    """

    def __init__(self, path: str | os.PathLike[str], *, reserved: bool = False) -> None:
        self.path = Path(path)
        self._reserved = reserved
        self.config = self.path / "config.json"  # every setting, and what the run is made with
        self.history = self.path / "history.csv"  # one row per iteration
        self.events = self.path / "events.log"  # text: warnings and errors, with times
        self.agent = self.path / AGENT_FILE  # the final agent
        self.checkpoints = self.path / "checkpoints"  # states of the training
        self.tensorboard = self.path / "tensorboard"  # event files
        self.evaluation = self.path / "evaluation.json"  # the last evaluation
        self.saved_model = self.path / "saved_model"  # the exported model

    def create(self, settings: dict[str, Any], **made_with: Any) -> None:
        """Make the folder and write config.json; the arguments are those of `write_config`.

        Raises:
          OSError: the folder exists or cannot be made; parent folders that were made for it are removed.
        """
        path = str(self.path)
        missing = [folder for folder in (self.path, *self.path.parents) if not os.path.lexists(folder)]
        try:
            self.path.mkdir(parents=True, exist_ok=self._reserved)
        except FileExistsError:
            raise self._exists() from None
        except (OSError, ValueError) as error:
            for folder in missing:
                with contextlib.suppress(OSError, ValueError):
                    folder.rmdir()
            reason = getattr(error, "strerror", None) or error
            raise OSError(errno.EINVAL, f"the run folder cannot be made: {reason}", path) from None
        self.write_config(settings, **made_with)

    def lock(self) -> contextlib.AbstractContextManager[bool]:
        """Lock the folder against other processes that train in it; a reserved folder is locked already.

        Raises:
          OSError: from its start: the folder cannot be read.
          ValueError: from its start: another process trains in the folder.
        """
        return contextlib.nullcontext(True) if self._reserved else locked(self.path, _in_use(self.path))

    def check_new(self) -> None:
        """Raise FileExistsError if the folder exists."""
        if os.path.lexists(self.path) and not self._reserved:
            raise self._exists()

    def _exists(self) -> FileExistsError:
        advice = "train into another folder (--run-dir), or continue this run with resume=True (--resume)"
        return FileExistsError(errno.EEXIST, f"the run folder exists: {advice}", str(self.path))

    def write_config(self, settings: dict[str, Any], **made_with: Any) -> None:
        """Write config.json, or replace it atomically.

        Args:
          settings: all settings by name.
          **made_with: the result of `provenance`; and earlier, a list of those of the run's earlier parts.
        """
        write_whole(self.config, json.dumps({"settings": settings, **made_with}, indent=2) + "\n")

    def read_config(self) -> dict[str, Any]:
        """Read config.json: settings, and the other entries that `write_config` wrote.

        Raises:
          ValueError: the folder holds no run.
        """
        try:
            config = json.loads(read_small(self.config))
            if not (isinstance(config["settings"], dict) and isinstance(config.setdefault("versions", {}), dict)):
                raise ValueError("its settings or versions are not mappings")
            if not isinstance(config.setdefault("earlier", []), list):
                raise ValueError("its earlier versions are not a list")
        except FileNotFoundError:
            hint = "; for an exported model use tf_trpo play" if self.agent.is_file() else ""
            raise ValueError(f"{self.path} is no run folder (it has no {self.config.name}){hint}") from None
        except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
            reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
            raise ValueError(f"{self.config} cannot be read as that of a run: {reason}") from None
        return config

    def read_evaluation(self) -> dict[str, float] | None:
        """Read the last evaluation; None if the run was not evaluated.

        Raises:
          ValueError: the file cannot be read.
        """
        try:
            content = json.loads(read_small(self.evaluation))
            return {name: float(content[name]) for name in ("mean_return", "std_return", "mean_length", "episodes")}
        except FileNotFoundError:
            return None
        except (OSError, ValueError, LookupError, TypeError, OverflowError, RecursionError) as error:
            raise ValueError(f"{self.evaluation} cannot be read: {error}") from None

    def is_complete(self) -> bool:
        """Return whether training has ended and was evaluated; an incomplete file does not count."""
        try:
            return bool(self.read_evaluation())
        except ValueError:
            return False

    def has_checkpoint(self) -> bool:
        """Return whether there is a checkpoint, complete or not."""
        return any(self.checkpoints.glob("steps-*"))

    def has_iterations(self) -> bool:
        """Return whether the history has a row."""
        return self.history.exists() and self.history.read_bytes().count(b"\n") > 1

    def check_trained(self) -> None:
        """Raise ValueError unless there is a final agent."""
        if not self.path.exists():
            raise ValueError(f"{self.path} does not exist")
        if not self.agent.is_file():
            raise ValueError(f"{self.path} holds no trained agent ({self.agent.name} is missing)")

    def check_no_links(self) -> None:
        """Raise ValueError if the folder has a symbolic link, by which files would be written elsewhere."""
        for path in self.path.rglob("*"):
            if path.is_symlink():
                raise ValueError(f"{path} is a symbolic link: a run that has one is not resumed")


def folder_name(environment: str) -> str:
    """Convert an environment's id to a folder name that every system allows: ALE/Pong-v5 to ALE-Pong-v5."""
    return environment.replace("/", "-").replace(":", "-")


@contextlib.contextmanager
def free_run_folder(environment: str, seed: int) -> Iterator[RunFolder]:
    """Reserve the default folder of a run: the first free one of runs/ENV-SEED, runs/ENV-SEED-2, -3 ...

    It is made and locked at once, so that two runs that start together have two folders, and is removed if it stays
    empty. An empty folder that a killed process left is free.
    """
    first = Path("runs") / f"{folder_name(environment)}-{seed}"
    others = (first.with_name(f"{first.name}-{number}") for number in itertools.count(2))
    made = [] if first.parent.exists() else [first.parent]
    with contextlib.ExitStack() as lock:
        reserved = False
        # Where nothing can be written, `create` says so, after the settings have been checked.
        with contextlib.suppress(OSError, ValueError):
            for path in itertools.chain([first], others):
                if reserved := _reserve(path, lock):
                    break
        try:
            yield RunFolder(path, reserved=reserved)
        finally:
            for folder in (path, *made):
                with contextlib.suppress(OSError):
                    folder.rmdir()


def _reserve(path: Path, lock: contextlib.ExitStack) -> bool:
    """Make a folder, or take an empty one, and lock it; return False if it is another's.

    Raises:
      OSError, ValueError: it cannot be made.
    """
    is_new = True
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        # If a parent is no folder, such as a link to nothing, the path itself does not exist.
        if not os.path.lexists(path):
            raise
        is_new = False
        if not _is_empty(path):
            return False
    with contextlib.ExitStack() as ours:
        try:
            is_locked = ours.enter_context(locked(path, _in_use(path)))
        except ValueError:
            return False
        if is_new or (is_locked and _is_empty(path)):
            lock.push(ours.pop_all())
            return True
    return False


def _is_empty(path: Path) -> bool:
    """Return whether a path is an empty folder, no link, that can be written to."""
    try:
        return not path.is_symlink() and os.access(path, os.W_OK) and not any(path.iterdir())
    except OSError:
        return False


def _in_use(path: Path) -> str:
    return f"another process is training in {path}"
