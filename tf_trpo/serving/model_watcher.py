"""Keep the newest loadable version of a model in service, while versions are added and removed."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from tf_trpo.serving.model_versions import version_folders
from tf_trpo.serving.saved_model import SavedModel

_logger = logging.getLogger(__name__)


class VersionStatus(NamedTuple):
    """State of a version in TensorFlow Serving's terms; END if it was replaced or cannot be loaded.

    If the files of the version in service change and cannot be loaded, it stays AVAILABLE, with the error.
    """

    state: Literal["LOADING", "AVAILABLE", "END"]
    error_code: str = "OK"
    error_message: str = ""


class ModelWatcher:
    """Keeps the newest loadable version of a model in service.

    A version is loaded again if its files change: it may still be being copied, or its files may have been replaced.
    If the version in service is removed, the newest of the others takes its place. A request is answered by the
    version with which it began.

    Args:
      folder: folder of the model, NAME of NAME/VERSION/.
      name: name of the model; by default the name of its folder.
      trust: also load models that tf_trpo did not write.

    Attributes:
      current: the version in service; None until `look` has found one.
    """

    def __init__(self, folder: Path, *, name: str | None = None, trust: bool = False) -> None:
        self.folder = folder
        self.name = folder.resolve().name if name is None else name
        self._trust = trust
        self.current: SavedModel | None = None
        self._statuses: dict[int, VersionStatus] = {}
        # Fingerprints of the version in service, and of the versions that cannot be loaded.
        self._tried: dict[int, set[tuple[str, int, int, int]]] = {}

    @property
    def statuses(self) -> dict[int, VersionStatus]:
        """The status of every version that `look` has tried, newest first."""
        return dict(sorted(self._statuses.copy().items(), reverse=True))

    def look(self) -> None:
        """Put the newest loadable version into service; call this from one thread at a time.

        Raises:
          OSError: the folder cannot be read.
        """
        for version, folder in reversed(version_folders(self.folder).items()):
            if self._load(version, folder) or self._serves(version):
                return

    def _serves(self, version: int) -> bool:
        return self.current is not None and self.current.version == version

    def _load(self, version: int, folder: Path) -> bool:
        fingerprint = _fingerprint(folder)
        if self._tried.get(version) == fingerprint:
            return False
        self._tried[version] = fingerprint
        if not self._serves(version):
            self._statuses[version] = VersionStatus("LOADING")
        try:
            model = SavedModel(version, folder, trust=self._trust)
        except Exception as error:  # TensorFlow raises many kinds of errors for damaged files.
            reason = " ".join(str(error).split()) or type(error).__name__
            _logger.warning("version %d cannot be served: %s", version, reason)
            state: Literal["AVAILABLE", "END"] = "AVAILABLE" if self._serves(version) else "END"
            self._statuses[version] = VersionStatus(state, "FAILED_PRECONDITION", reason[:1000])
            return False
        replaced, self.current = self.current, model
        self._statuses[version] = VersionStatus("AVAILABLE")
        if replaced is not None and replaced.version != version:
            self._statuses[replaced.version] = VersionStatus("END")
            self._tried.pop(replaced.version, None)
        _logger.info("version %d of %s is in service", version, self.name)
        return True

    @contextlib.contextmanager
    def looking(self, seconds: float) -> Iterator[None]:
        """Within the context, call `look` every `seconds` in a thread; the end waits for a load that has begun."""
        ended = threading.Event()

        def run() -> None:
            unreadable = False
            while not ended.wait(seconds):
                try:
                    self.look()
                    unreadable = False
                except OSError as error:
                    if not unreadable:
                        _logger.warning("%s cannot be read: %s", self.folder, error)
                    unreadable = True

        thread = threading.Thread(target=run, name="model-watcher", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def _fingerprint(folder: Path) -> set[tuple[str, int, int, int]]:
    found = set()
    # Another process may rename or remove files at this moment: the next look finds other files.
    with contextlib.suppress(OSError):
        for path in folder.rglob("*"):
            with contextlib.suppress(OSError):
                status = path.stat()
                found.add((str(path), status.st_ino, status.st_size, status.st_mtime_ns))
    return found
