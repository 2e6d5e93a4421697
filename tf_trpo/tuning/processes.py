"""Run several processes that work on one search, and restart those that are killed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Literal

from tf_trpo.locks import locked
from tf_trpo.tuning.tuning import TuningFailedError

Task = Literal["trials", "check"]
_RESTARTS = 3
"""Maximum number of restarts of killed processes (for example by a system that is out of memory)."""
_PATIENCE = 60.0
"""Seconds to wait for processes that a killed search left behind; they end when their pipe is closed."""
_POLL = 0.2


@contextlib.contextmanager
def sole_owner(folder: Path) -> Iterator[None]:
    """Lock a search folder against other processes. The system releases the lock if this process is killed.

    Raises:
      ValueError: another process is searching in the folder.
    """
    with locked(folder / "search.lock", f"another process is searching in {folder}"):
        _wait_for_workers(folder)
        yield


@contextlib.contextmanager
def counted_as_worker(folder: Path) -> Iterator[None]:
    """Hold a shared lock by which a later search detects that this process is still working."""
    with (folder / "workers.lock").open("w") as shared:
        fcntl.flock(shared, fcntl.LOCK_SH)
        yield


def end_with_parent() -> None:
    """End this process immediately when the process that started it ends, which closes the pipe to this one."""

    def wait() -> None:
        # Not by sys.stdin, since Python cannot exit while a thread waits for it.
        os.read(0, 1)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def run_workers(
    folder: Path, jobs: int, task: Task, *, on_tick: Callable[[], None], repair: Callable[[int], object]
) -> None:
    """Run worker processes until all have finished.

    Args:
      folder: folder of the search.
      jobs: number of processes.
      task: what the processes work on.
      on_tick: called several times per second.
      repair: called with the number of a process that was killed, before it is restarted.

    Raises:
      TuningFailedError: a process failed, or too many were killed; the message has the last line of its log.
      KeyboardInterrupt: Ctrl-C, which a terminal sends to all processes.
    """
    processes = {index: _start(folder, index, jobs, task) for index in range(jobs)}
    killed = 0
    try:
        while processes:
            with _interrupts_noted() as interrupts:
                on_tick()
                time.sleep(_POLL)
            if interrupts:
                raise KeyboardInterrupt
            for index, process in list(processes.items()):
                status = process.poll()
                if status is None:
                    continue
                del processes[index]
                process.stdin.close()  # type: ignore[union-attr]
                killed += status < 0
                if status < 0 and killed <= _RESTARTS:
                    repair(index)
                    processes[index] = _start(folder, index, jobs, task)
                elif status != 0:
                    raise TuningFailedError(_last_words(folder, index, status))
    finally:
        for process in processes.values():
            process.stdin.close()  # type: ignore[union-attr]
        for process in processes.values():
            process.wait()
    on_tick()


@contextlib.contextmanager
def _interrupts_noted() -> Iterator[list[int]]:
    """Yield a list to which Ctrl-C is added. Raised within a finaliser of a database, its exception would be lost."""
    noted: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield noted
        return
    before = signal.signal(signal.SIGINT, lambda number, _: noted.append(number))
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, before)


def log_of(folder: Path, index: int) -> Path:
    """Return the path of the log with the output of a process."""
    return folder / f"worker-{index}.log"


def _start(folder: Path, index: int, jobs: int, task: Task) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tf_trpo.tuning.worker", str(folder), str(index), str(jobs), task]
    log: IO[bytes]
    with log_of(folder, index).open("ab") as log:
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log)


def _wait_for_workers(folder: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    with (folder / "workers.lock").open("w") as shared:
        while True:
            try:
                fcntl.flock(shared, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ValueError(f"processes of an earlier search still work in {folder}") from None
                time.sleep(_POLL)
            else:
                return


def _last_words(folder: Path, index: int, status: int) -> str:
    lines = log_of(folder, index).read_text(encoding="utf-8", errors="replace").splitlines()
    return f"process {index} of the search ended with status {status}: {lines[-1] if lines else 'it said nothing'}"
