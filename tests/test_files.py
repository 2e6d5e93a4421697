"""Files that are written completely or not at all."""

import errno
import os
import stat

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


def test_yaml_without_aliases_is_parsed_and_with_one_it_is_refused():
    lines = ["a0: &a0 [1, 1]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9))]
    assert files.parsed_yaml(lines[0], "preset mine") == {"a0": [1, 1]}
    with pytest.raises(ValueError, match=r"^preset mine has the alias \*a0: write its value in its place$"):
        files.parsed_yaml("\n".join(lines), "preset mine")
