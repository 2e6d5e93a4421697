"""Agents' files from strangers: refused in one line, with nothing imported, run, read or allocated."""

import os
import shutil
import zipfile

import h5py
import numpy as np
import pytest

import tf_trpo


def at_weights(change):
    """A change of one dataset: change(group, name) after it is deleted."""

    def weights(file):
        groups = []
        file.visititems(lambda name, part: groups.append(part) if name.endswith("/vars") else None)
        group = next(group for group in groups if getattr(group.get("0"), "shape", None) == (3, 8))
        del group["0"]
        change(group, "0")

    return weights


def virtual(group, name):
    layout = h5py.VirtualLayout((3, 8), "f4")
    layout[:] = h5py.VirtualSource("/etc/hostname", "x", (3, 8))
    group.create_virtual_dataset(name, layout)


def never_written(group, name):
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_LATE)
    h5py.h5d.create(group.id, name.encode(), h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((10**9, 10)), properties)


WEIGHTS = {
    "soft link": (lambda group, name: group.__setitem__(name, h5py.SoftLink("/vars/0")), "has a link"),
    "external link": (lambda group, name: group.__setitem__(name, h5py.ExternalLink("/etc/x.h5", "/a")), "has a link"),
    "external file": (
        lambda group, name: group.create_dataset(name, (3, 8), "f4", external=[("/etc/hostname", 0, 96)]),
        "not in the file",
    ),
    "virtual": (virtual, "not in the file"),
    "compressed": (lambda group, name: group.create_dataset(name, (2**28,), "f4", compression="gzip"), "compressed"),
    "chunked": (lambda group, name: group.create_dataset(name, (2**28,), "f4", chunks=(2**20,)), "compressed"),
    "never written": (never_written, "claims 40000000000 bytes"),
    "twice": (lambda group, name: group.__setitem__(name, group["1"]), "an object twice"),
    "cycle": (lambda group, name: group.__setitem__(name, group.parent), "an object twice"),
    "texts": (lambda group, name: group.create_dataset(name, data=["a", "b"]), "else than an array of numbers"),
    "references": (lambda group, name: group.create_dataset(name, (2,), h5py.ref_dtype), "else than an array"),
    "nothing": (lambda group, name: group.create_dataset(name, data=h5py.Empty("f4")), "else than an array"),
    "a type": (lambda group, name: group.__setitem__(name, np.dtype("f8")), "else than an array"),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_outside_of_the_file_or_larger_than_it_are_refused(name, stranger, refusal):
    change, reason = WEIGHTS[name]
    message = refusal(stranger(weights=at_weights(change)))
    assert "model.weights.h5" in message
    assert reason in message


@pytest.mark.parametrize(
    "change",
    [lambda group, name: None, lambda group, name: group.create_dataset(name, data=np.zeros((5, 8), np.float32))],
    ids=["missing", "of another shape"],
)
def test_weights_that_do_not_fit_the_agent_are_refused(change, stranger, refusal):
    refusal(stranger(weights=at_weights(change)), "compile", "exec")


def test_a_state_of_another_optimizer_is_refused(stranger, refusal):
    def other(file):
        file["vars"]["policy_optimizer_KLPenalty_0"] = np.float32(3)

    assert "policy optimizer's state" in refusal(stranger(weights=other), "compile", "exec")


ENTRIES = {
    "one more": lambda content: [*content.items(), ("assets/x", b"x")],
    "a way out": lambda content: [*content.items(), ("../outside", b"x")],
    "an absolute name": lambda content: [*content.items(), ("/tmp/outside", b"x")],
    "one less": lambda content: [item for item in content.items() if item[0] != "metadata.json"],
    "one renamed": lambda content: [(name.replace("config", "../config"), data) for name, data in content.items()],
    "others": lambda content: [("something.txt", b"else")],
    "none": lambda content: [],
}


@pytest.mark.parametrize("name", ENTRIES)
def test_an_archive_of_other_members_is_refused(name, stranger, tmp_path, refusal):
    assert "it does not hold exactly" in refusal(stranger(members=ENTRIES[name]))
    assert {path.name for path in tmp_path.iterdir()} == {"stranger.keras"}


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_an_archive_with_a_member_twice_or_compressed_is_refused(stranger, refusal):
    twice = stranger(members=lambda content: [("config.json", b"{}"), *content.items()])
    assert "it does not hold exactly" in refusal(twice)
    assert "is compressed" in refusal(stranger(compression=zipfile.ZIP_DEFLATED))


@pytest.mark.parametrize("share", [0, 0.01, 0.3, 0.6, 0.9, 0.999])
def test_a_truncated_file_is_refused(share, saved, tmp_path, refusal):
    path = tmp_path / "agent.keras"
    path.write_bytes(saved.read_bytes()[: int(share * saved.stat().st_size)])
    refusal(path)


def test_what_is_no_file_or_too_large_is_refused_before_it_is_read(saved, tmp_path, refusal):
    large, link, folder, pipe = (tmp_path / f"{name}.keras" for name in ("large", "link", "folder", "pipe"))
    shutil.copy(saved, large)
    os.truncate(large, 2**40)  # takes no room: the file has a hole
    assert "it has 1099511627776 bytes, more than" in refusal(large)
    link.symlink_to(saved)
    assert "it is a link" in refusal(link)
    folder.mkdir()
    os.mkfifo(pipe)
    with pytest.raises(ValueError, match=r"folder\.keras/agent\.keras cannot be loaded: No such file"):
        tf_trpo.load(folder)
    assert "it is no file" in refusal(pipe)
    assert "No such file" in refusal(tmp_path / "missing.keras")


def test_the_name_of_the_file_decides_nothing(saved, tmp_path, refusal):
    """Keras takes other ways, with other holes, for names such as model.h5 or hf://."""
    path = tmp_path / "agent.h5"
    shutil.copy(saved, path)
    assert isinstance(tf_trpo.load(path), tf_trpo.TRPO)
    assert "No such file" in refusal("hf://somebody/model")
