"""Checkpoint files: written whole or not at all, and read only as they were written."""

import errno
import hashlib
import json
import os
import resource
import struct

import numpy as np
import pytest
from safetensors.numpy import save

from tf_trpo.training import CheckpointError, checkpoint
from tf_trpo.training.checkpoint import check_directory, read_checkpoint, write_checkpoint

MAGIC = b"tf_trpo checkpoint 3\n"
STATE = {
    "number": 3,
    "share": 0.1,
    "nothing": None,
    "text": "ä\n",
    "empty": {},
    "parts": [{"a": np.arange(6, dtype=np.float32).reshape(2, 3)}, np.array(7, np.int64), []],
    "flags": np.array([True, False]),
    "none": np.empty((0, 2)),
}


def sealed(payload):
    return MAGIC + hashlib.sha256(payload).digest() + payload


@pytest.fixture
def folder(tmp_path):
    """A folder with checkpoints after 10, 20 and 30 steps."""
    folder = tmp_path / "checkpoints"
    for steps in (10, 20, 30):
        write_checkpoint(STATE | {"number": steps}, folder, steps, keep=3)
    return folder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def of(*steps):
    return [f"steps-{number:012d}.ckpt" for number in steps]


def content(folder):
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


def damage(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def described(state):
    """All that a state is: the order of names, and the types and shapes of arrays, too."""
    return json.dumps(state, default=lambda array: [str(array.dtype), array.shape, array.tolist()])


def test_a_state_comes_back_as_it_was(folder):
    path, state = read_checkpoint(folder)
    assert path == folder / of(30)[0]
    assert described(state) == described(STATE | {"number": 30})
    assert read_checkpoint(folder / of(10)[0])[1]["number"] == 10


def test_a_number_that_is_not_finite_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_checkpoint({"number": float("nan")}, tmp_path, 1, keep=1)
    assert not names(tmp_path)


def test_any_bit_that_differs_any_byte_less_and_any_byte_more_is_found(folder):
    path = folder / of(30)[0]
    whole = path.read_bytes()
    assert whole.startswith(MAGIC)
    assert len(whole) < 2000
    changed = [whole[:i] + bytes([whole[i] ^ (1 << i % 8)]) + whole[i + 1 :] for i in range(len(whole))]
    changed += [whole[:i] for i in range(len(whole))] + [whole + b"\0", whole + whole]
    for data in changed:
        path.write_bytes(data)
        with pytest.raises(CheckpointError, match=r"is not (a checkpoint of this version|as it was written)"):
            read_checkpoint(path)


def payload_of(text=b"{}", **arrays):
    return save({"json": np.frombuffer(text, np.uint8), **arrays})


def claiming(dtype="U8", shape=(64,), size=64):
    """The claim of one array, and 64 bytes."""
    text = json.dumps({"json": {"dtype": dtype, "shape": list(shape), "data_offsets": [0, size]}}).encode()
    return struct.pack("<Q", len(text)) + text + bytes(64)


STRANGERS = {
    "nothing": b"",
    "no safetensors": b"\x80\x04cos\nsystem\n",
    "a header beyond the file": struct.pack("<Q", 2**62) + b"{}",
    "an array beyond the file": claiming(shape=[2**40], size=2**40),
    "a shape beyond its bytes": claiming(shape=[2**62, 2**62]),
    "a negative size": claiming(shape=[-64]),
    "objects": claiming(dtype="O"),
    "no JSON array": save({"other": np.zeros(3)}),
    "no JSON": payload_of(b"import os"),
    "no text": payload_of(b"\xff\xfe"),
    "JSON of floats": save({"json": np.zeros(3)}),
    "JSON without end": payload_of(b"[" * 100_000),
    "an array that is not there": payload_of(b'{"part": {"tf_trpo/array": "nowhere"}}'),
    "an array by another kind of name": payload_of(b'{"part": {"tf_trpo/array": ["json"]}}'),
    "a number too long": payload_of(b'{"part": ' + b"1" * 10_000 + b"}"),
}


@pytest.mark.parametrize("name", STRANGERS)
def test_what_a_stranger_has_sealed_is_refused(name, tmp_path):
    path = tmp_path / of(1)[0]
    path.write_bytes(sealed(STRANGERS[name]))
    with pytest.raises(CheckpointError, match="is not a checkpoint: "):
        read_checkpoint(path)


def test_a_sealed_file_with_any_byte_changed_is_read_or_refused(folder):
    path = folder / of(30)[0]
    payload = path.read_bytes()[len(MAGIC) + 32 :]
    refused = 0
    for i in range(len(payload)):
        for mask in (1, 255):
            path.write_bytes(sealed(payload[:i] + bytes([payload[i] ^ mask]) + payload[i + 1 :]))
            try:
                read_checkpoint(path)
            except CheckpointError:
                refused += 1
    assert 100 < refused < 2 * len(payload)


DAMAGES = {
    "one bit": damage,
    "a link": lambda path: path.symlink_to(path.rename(path.with_suffix(".real"))),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a pipe": lambda path: (path.unlink(), os.mkfifo(path)),
    "an older version": lambda path: path.write_bytes(path.read_bytes().replace(b"point 3", b"point 2")),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_newest_one_is_passed_over_and_refused_if_it_is_named(kind, folder):
    newest = folder / of(30)[0]
    DAMAGES[kind](newest)
    assert read_checkpoint(folder)[1]["number"] == 20
    with pytest.raises(CheckpointError, match=str(newest)):
        read_checkpoint(newest)


def test_a_file_that_is_too_large_is_refused_before_it_is_read(folder):
    path = folder / of(30)[0]
    os.truncate(path, 2**40)  # takes no room: the file has a hole
    with pytest.raises(CheckpointError, match="it has 1099511627776 bytes, more than"):
        read_checkpoint(path)


def test_without_any_whole_one_the_reasons_are_given(folder, tmp_path):
    for path in folder.iterdir():
        damage(path)
    with pytest.raises(CheckpointError, match=r"30.ckpt is not as .*; .*20.ckpt is not as .*; .*10.ckpt is not as "):
        read_checkpoint(folder)
    with pytest.raises(CheckpointError, match="nowhere holds no checkpoint"):
        read_checkpoint(tmp_path / "nowhere")


@pytest.mark.parametrize(("keep", "left"), [(1, [40]), (2, [30, 40]), (9, [10, 20, 30, 40])])
def test_the_newest_are_kept_and_other_files_left_alone(keep, left, folder):
    (folder / "notes.txt").write_text("mine")
    (folder / ".partial-0a1b2c3d.ckpt").write_bytes(b"of a killed process")
    assert write_checkpoint(STATE, folder, 40, keep=keep) == folder / of(40)[0]
    assert names(folder) == ["notes.txt", *of(*left)]


def test_a_whole_one_of_the_same_step_stays_unless_overwritten_and_a_damaged_one_gives_way(folder):
    before = content(folder)
    write_checkpoint({}, folder, 30, keep=3)
    assert content(folder) == before
    write_checkpoint({"number": "other"}, folder, 30, keep=3, overwrite=True)
    assert read_checkpoint(folder)[1] == {"number": "other"}
    damage(folder / of(30)[0])
    write_checkpoint({"number": "new"}, folder, 30, keep=3)
    assert read_checkpoint(folder)[1] == {"number": "new"}


def test_a_folder_with_a_whole_checkpoint_of_more_steps_is_another_fits(folder):
    before = content(folder)
    for refuse in (lambda: check_directory(folder, 25), lambda: write_checkpoint(STATE, folder, 25, keep=1)):
        with pytest.raises(CheckpointError, match=r"holds steps-0+30.ckpt, and the agent is at 25 steps"):
            refuse()
    assert content(folder) == before


def test_damaged_ones_of_more_steps_go_when_a_good_one_is_written(folder):
    for path in sorted(folder.iterdir())[1:]:
        damage(path)
    check_directory(folder, 15)
    write_checkpoint(STATE, folder, 15, keep=2)
    assert names(folder) == of(10, 15)


def test_a_folder_that_is_a_link_is_neither_read_nor_written(folder, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(folder)
    before = content(folder)
    for use in (
        read_checkpoint,
        lambda path: check_directory(path, 40),
        lambda path: write_checkpoint({}, path, 40, keep=1),
    ):
        with pytest.raises(CheckpointError, match="link is a symbolic link"):
            use(link)
    assert content(folder) == before


def fails(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def unlike(*_):
    raise CheckpointError("unlike")


PLACES = {
    "synchronisation": (os, "fsync", fails),
    "renaming": (os, "replace", fails),
    "bytes": (checkpoint.Path, "write_bytes", fails),
    "verification": (checkpoint, "_verified", unlike),
}


@pytest.mark.parametrize("moment", [*PLACES, "a limit on files"])
def test_a_write_that_fails_leaves_the_older_ones_and_no_half_one(moment, folder, monkeypatch):
    """At any moment of it; the next one succeeds."""
    before, (soft, hard) = content(folder), resource.getrlimit(resource.RLIMIT_FSIZE)
    with monkeypatch.context() as patch:
        if moment in PLACES:
            patch.setattr(*PLACES[moment])
        else:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
        try:
            with pytest.raises((OSError, CheckpointError), match=r"40.ckpt cannot be written: .*(No sp|large)|unlike"):
                write_checkpoint(STATE, folder, 40, keep=1)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert content(folder) == before
    write_checkpoint(STATE, folder, 40, keep=1)
    assert names(folder) == of(40)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_named(folder):
    folder.chmod(0o500)
    try:
        with pytest.raises(OSError, match=f"checkpoint {folder}.* cannot be written: Permission denied"):
            write_checkpoint(STATE, folder, 40, keep=1)
    finally:
        folder.chmod(0o700)
