"""Files that are written completely or not at all, and locks of folders."""

import errno
import os
import signal
import stat
import subprocess
import sys

import pytest

from tf_trpo import files


@pytest.mark.parametrize(("number", "is_written"), [(errno.EINVAL, True), (errno.ENOTSUP, True), (errno.EIO, False)])
def test_a_folder_that_cannot_be_synchronised_is_no_error_if_its_file_system_never_can(
    number, is_written, tmp_path, monkeypatch
):
    synchronise = os.fsync

    def fsync(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        synchronise(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    if is_written:
        files.write_whole(tmp_path / "file", "content")
    else:
        with pytest.raises(OSError, match=os.strerror(number)):
            files.write_whole(tmp_path / "file", "content")
    assert (tmp_path / "file").read_text() == "content"


@pytest.mark.parametrize("name", ["folder", "file"])
def test_a_lock_has_one_owner_and_ends_with_it(name, tmp_path):
    (tmp_path / "folder").mkdir()
    for _ in range(2):
        with files.locked(tmp_path / name, "in use") as is_locked:
            assert is_locked
            with pytest.raises(ValueError, match="in use"), files.locked(tmp_path / name, "in use"):
                pass


def test_a_folder_that_was_removed_before_it_was_locked_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(files.fcntl, "flock", lambda *_: (tmp_path / "folder").rmdir())
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match="in use"), files.locked(tmp_path / "folder", "in use"):
        pass


def test_a_file_system_without_locks_is_no_error(tmp_path, monkeypatch):
    def unsupported(*_):
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(files.fcntl, "flock", unsupported)
    with files.locked(tmp_path, "in use") as is_locked:
        assert not is_locked


FORKED = """
import os, pathlib, signal, sys, time
from tf_trpo.files import locked

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
            with pytest.raises(ValueError, match="in use"), files.locked(tmp_path, "in use"):
                pass
            process.kill()
            process.wait()
            with files.locked(tmp_path, "in use") as is_locked:
                assert is_locked
        finally:
            process.kill()
            os.kill(child, signal.SIGKILL)


def test_yaml_without_aliases_is_parsed_and_with_one_it_is_refused():
    lines = ["a0: &a0 [1, 1]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9))]
    assert files.parsed_yaml(lines[0], "preset mine") == {"a0": [1, 1]}
    with pytest.raises(ValueError, match=r"^preset mine .*write the values of the alias \*a0 themselves"):
        files.parsed_yaml("\n".join(lines), "preset mine")
