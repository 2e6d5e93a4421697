"""Version folders: numbers, and many writers at once."""

import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tf_trpo.serving.model_versions import add_version, version_folders


def write(text):
    def into(folder):
        folder.mkdir()
        (folder / "model").write_text(text)

    return into


def test_versions_are_the_folders_with_plain_numbers_and_the_next_follows_the_highest(tmp_path):
    for name in ("2", "10", "007", "1.5", "-3", "²", "notes", ".writing-1", "9" * 19, "9" * 200):
        (tmp_path / name).mkdir()
    (tmp_path / "4").write_text("a file")
    assert list(version_folders(tmp_path).items()) == [(2, tmp_path / "2"), (10, tmp_path / "10")]
    assert add_version(tmp_path, write("next")) == tmp_path / "11"
    largest = str(2**63 - 1)
    (tmp_path / largest).mkdir()
    assert max(version_folders(tmp_path)) == 2**63 - 1
    with pytest.raises(OSError, match="has the largest number of a version already"):
        add_version(tmp_path, write("next"))


def test_a_number_that_is_taken_by_something_else_is_left_out(tmp_path):
    (tmp_path / "1").write_text("a file")
    (tmp_path / "2").symlink_to("nowhere")
    assert add_version(tmp_path, write("next")) == tmp_path / "3"
    assert (tmp_path / "1").read_text() == "a file"


def test_what_a_killed_writer_has_left_is_removed_after_a_day(tmp_path):
    old, new = tmp_path / ".writing-old", tmp_path / ".writing-new"
    for folder in (old, new):
        write("half")(folder)
    os.utime(old, (time.time() - 100_000,) * 2)
    add_version(tmp_path, write("next"))
    assert sorted(path.name for path in tmp_path.iterdir()) == [".writing-new", "1"]


def test_writers_at_the_same_time_get_a_version_each_and_none_is_lost(tmp_path):
    texts = [str(number) for number in range(24)]
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda text: add_version(tmp_path / "new" / "model", write(text)), texts))
    assert [(folder / "model").read_text() for folder in folders] == texts
    assert sorted(int(path.name) for path in (tmp_path / "new" / "model").iterdir()) == list(range(1, 25))


def test_a_writer_that_fails_leaves_nothing(tmp_path):
    def fail(folder):
        write("half")(folder)
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space left"):
        add_version(tmp_path / "model", fail)
    assert list((tmp_path / "model").iterdir()) == []
