"""A cache of programs that XLA compiled in earlier runs, so that similar runs start sooner."""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import importlib.metadata
import os
import platform
import shutil
import tempfile
from pathlib import Path

from tf_trpo.cores import available_cores
from tf_trpo.files import read_untrusted, write_whole
from tf_trpo.locks import locked

_LARGEST = 2**26
"""Maximum size of a cache folder in bytes; the oldest programs are deleted. A program has about 1 MB."""
_COPY = "tf_trpo-xla-"
"""Prefix of the names of folders that TensorFlow reads and writes."""


def reuse_compiled_programs(threads: int) -> None:
    """Let XLA load the programs of earlier runs, and store those of this run when the process ends.

    Call this before TensorFlow is imported. It does nothing if TF_XLA_FLAGS is set, or if the cache folder cannot be
    used. TensorFlow's own cache fails on a damaged file, and does not distinguish processors and numbers of threads. So
    each combination of these has a folder, and TensorFlow gets a copy of the files whose checksums are right.

    Args:
      threads: number of threads that TensorFlow will use; 0 for all cores.
    """
    if "TF_XLA_FLAGS" in os.environ:
        return
    # A run must not fail because of the cache. Path.home() raises RuntimeError for a user without a home folder.
    with contextlib.suppress(OSError, RuntimeError):
        store = _folder(threads)
        store.mkdir(mode=0o700, parents=True, exist_ok=True)
        if _is_ours(store):
            remove_abandoned(Path(tempfile.gettempdir()))
            _use(store, Path(tempfile.mkdtemp(prefix=_COPY)))


def _use(store: Path, copy: Path) -> None:
    """Give TensorFlow a copy of the programs of a store."""
    ending = contextlib.ExitStack()
    # ValueError: another process that starts has taken the new folder for an abandoned one.
    with contextlib.suppress(ValueError):
        ending.enter_context(locked(copy, "it is being removed"))
        ending.callback(_end, copy, store)
        atexit.register(ending.close)
        fetch(store, copy)
        os.environ["TF_XLA_FLAGS"] = f"--tf_xla_persistent_cache_directory={copy}"


def remove_abandoned(folder: Path) -> None:
    """Remove the copies that killed processes of this user have left in a folder; those in use are locked."""
    for copy in folder.glob(f"{_COPY}*"):
        # ValueError: it is in use.
        with contextlib.suppress(OSError, ValueError):
            if _is_ours(copy):
                with locked(copy, "it is in use") as is_locked:
                    if is_locked:
                        shutil.rmtree(copy)


def fetch(store: Path, copy: Path) -> None:
    """Copy the intact programs of a store to a folder, under TensorFlow's names, and delete damaged ones."""
    for path in store.iterdir():
        digest, _, name = path.name.partition("-")
        with contextlib.suppress(OSError, ValueError):
            program = read_untrusted(path, _LARGEST)
            if hashlib.sha256(program).hexdigest() != digest:
                path.unlink()
                continue
            try:
                (copy / name).write_bytes(program)
            except OSError:
                # The disk may be full. TensorFlow would fail on a part of a program.
                (copy / name).unlink(missing_ok=True)
                return


def keep(copy: Path, store: Path, largest: int = _LARGEST) -> None:
    """Copy the programs of a folder to a store, and delete the store's oldest programs if it is too large.

    Args:
      copy: folder to which TensorFlow has written.
      store: folder of the store.
      largest: maximum size of the store in bytes.
    """
    known = {path.name.partition("-")[2] for path in store.iterdir()}
    for path in copy.glob("*.pb"):
        if path.name not in known:
            program = path.read_bytes()
            write_whole(store / f"{hashlib.sha256(program).hexdigest()}-{path.name}", program)
    size = 0
    for path in sorted(store.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True):
        size += path.stat().st_size
        if size > largest:
            path.unlink()


def _end(copy: Path, store: Path) -> None:
    with contextlib.suppress(OSError):
        keep(copy, store)
    shutil.rmtree(copy, ignore_errors=True)


def _folder(threads: int) -> Path:
    """Return the store for this processor, TensorFlow version, number of threads and XLA_FLAGS."""
    processor = platform.machine() + platform.processor()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        processor += "".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))
    kind = [
        importlib.metadata.version("tensorflow"),
        processor,
        threads or available_cores(),
        os.environ.get("XLA_FLAGS"),
    ]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "tf_trpo" / "xla" / hashlib.sha256(repr(kind).encode()).hexdigest()[:16]


def _is_ours(store: Path) -> bool:
    """Return whether only this user can write to a folder, whose programs will be run."""
    status = store.lstat()
    return store.is_dir() and not store.is_symlink() and status.st_uid == os.getuid() and not status.st_mode & 0o022
