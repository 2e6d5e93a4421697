"""Locks of folders and files."""

import errno
import fcntl
import os
import signal
import subprocess
import sys

import pytest

from tf_trpo.locks import locked


@pytest.mark.parametrize("name", ["folder", "file"])
def test_a_lock_has_one_owner_and_ends_with_it(name, tmp_path):
    (tmp_path / "folder").mkdir()
    for _ in range(2):
        with locked(tmp_path / name, "in use") as is_locked:
            assert is_locked
            with pytest.raises(ValueError, match="in use"), locked(tmp_path / name, "in use"):
                pass


def test_a_folder_that_was_removed_before_it_was_locked_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", lambda *_: (tmp_path / "folder").rmdir())
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match="in use"), locked(tmp_path / "folder", "in use"):
        pass


def test_a_file_system_without_locks_is_no_error(tmp_path, monkeypatch):
    def unsupported(*_):
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with locked(tmp_path, "in use") as is_locked:
        assert not is_locked


FORKED = """
import os, pathlib, signal, sys, time
from tf_trpo.locks import locked

with locked(pathlib.Path(sys.argv[1]), "in use"):
    if os.fork():
        time.sleep(60)
    print(os.getpid(), flush=True)
    time.sleep(60)
"""


def test_the_children_of_a_killed_process_do_not_keep_its_lock(tmp_path):
    with subprocess.Popen([sys.executable, "-c", FORKED, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        child = int(process.stdout.readline())
        try:
            with pytest.raises(ValueError, match="in use"), locked(tmp_path, "in use"):
                pass
            process.kill()
            process.wait()
            with locked(tmp_path, "in use") as is_locked:
                assert is_locked
        finally:
            process.kill()
            os.kill(child, signal.SIGKILL)
