"""Checks an agent's .keras file before Keras reads it, and copies what was checked.

The file is a zip archive of metadata.json, config.json and model.weights.h5, none of them compressed. Nothing in it is
made, imported or allocated here: names are looked up, sizes are compared with those of the file.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import h5py

from tf_trpo.training.keras_config import check_config

_CONFIG = "config.json"
_WEIGHTS = "model.weights.h5"
_LARGEST = {"metadata.json": 2**16, _CONFIG: 2**24, _WEIGHTS: 2**36}
"""Bytes of each member; there is no other."""
_MOST_OBJECTS = 100_000
_NUMERIC = "biuf"


def copy_checked(path: str | os.PathLike[str], target: Path, custom_objects: Mapping[str, Any], root: type) -> int:
    """Copy an agent's file, member by member, if loading it can do no more than make an agent.

    What Keras is to read is the copy: the file may change in the meantime.

    Args:
      path: the file.
      target: its copy; not there yet.
      custom_objects: classes and functions by name that config.json may name besides the registered ones.
      root: class of the object that the file must hold.

    Returns:
      Bytes of all arrays in the file.

    Raises:
      ValueError: it is no such file, or a damaged or a dangerous one.
      OSError: it cannot be read, or the copy not be written.
    """
    with _opened(path) as file, _archive(file) as archive:
        members = _members(archive)
        content = _read(archive, members[_CONFIG])
        check_config(_parsed(content), custom_objects, root)
        weights = target.with_suffix(".h5")
        with archive.open(members[_WEIGHTS]) as source, open(weights, "xb") as copy:
            shutil.copyfileobj(source, copy)
        metadata = _read(archive, members["metadata.json"])
    size = _check_weights(weights)
    with zipfile.ZipFile(target, "x") as archive:
        archive.writestr("metadata.json", metadata)
        archive.writestr(_CONFIG, content)
        archive.write(weights, _WEIGHTS)
    weights.unlink()
    return size


def _opened(path: str | os.PathLike[str]) -> BinaryIO:
    """The file itself; not a link to another, nor something that is read without end."""
    if Path(path).is_symlink():
        raise ValueError("it is a link; name the file itself")
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError("it is no file")
    return os.fdopen(descriptor, "rb")


def _archive(file: BinaryIO) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise ValueError(
            f"it is not the zip archive that agent.save writes ({error}): truncated, or another file"
        ) from None


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    entries = archive.infolist()
    members = {entry.filename: entry for entry in entries}
    if len(entries) != len(_LARGEST) or members.keys() != _LARGEST.keys():
        raise ValueError(f"it does not hold exactly {', '.join(sorted(_LARGEST))}, as agent.save writes them")
    for name, entry in members.items():
        # What is stored as it is cannot grow in memory: its size is that of the file.
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size or entry.flag_bits & 1:
            raise ValueError(f"its {name} is compressed or encrypted, which agent.save does not do")
        if entry.file_size > _LARGEST[name]:
            raise ValueError(f"its {name} has {entry.file_size} bytes, more than {_LARGEST[name]}")
    return members


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    return archive.read(entry)


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its {_CONFIG} is no JSON that can be read: {error}") from None


def _check_weights(path: Path) -> int:
    """Bytes of all arrays in an HDF5 file of nothing but groups and plain arrays, all of them in the file."""
    with h5py.File(path, "r") as file:
        seen: set[int] = set()
        waiting: list[Any] = [file]
        size = 0
        while waiting:
            group = waiting.pop()
            for name in group:
                if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                    raise ValueError(f"its {_WEIGHTS} has a link: {group.name}/{name}")
                part = group[name]
                address = h5py.h5o.get_info(part.id).addr
                if address in seen or len(seen) >= _MOST_OBJECTS:
                    raise ValueError(f"its {_WEIGHTS} has an object twice, or more than {_MOST_OBJECTS}: {part.name}")
                seen.add(address)
                _check_attributes(part)
                if isinstance(part, h5py.Group):
                    waiting.append(part)
                else:
                    size += _checked_size(part)
    if size > path.stat().st_size:
        raise ValueError(f"its {_WEIGHTS} claims arrays of {size} bytes, more than it has")
    return size


def _checked_size(dataset: Any) -> int:
    """Bytes of a dataset that is stored as Keras stores it: in one piece, as it is in memory."""
    if not isinstance(dataset, h5py.Dataset) or dataset.shape is None or dataset.dtype.kind not in _NUMERIC:
        # Keras stores bfloat16 as two opaque bytes.
        opaque = isinstance(dataset, h5py.Dataset) and dataset.shape is not None and dataset.dtype.str == "|V2"
        if not opaque:
            raise ValueError(f"its {_WEIGHTS} has something else than an array of numbers: {dataset.name}")
    properties = dataset.id.get_create_plist()
    if dataset.is_virtual or dataset.external or dataset.chunks is not None or properties.get_nfilters():
        raise ValueError(f"its {_WEIGHTS} has an array that is compressed, or not in the file: {dataset.name}")
    size = dataset.size * dataset.dtype.itemsize
    if dataset.id.get_storage_size() != size:
        raise ValueError(f"its {_WEIGHTS} has an array that claims {size} bytes and does not have them: {dataset.name}")
    return size


def _check_attributes(part: Any) -> None:
    # Of Keras: the name of a layer, the type of an array.
    for name in part.attrs:
        if name not in ("name", "dtype") or part.attrs.get_id(name).shape != ():
            raise ValueError(f"its {_WEIGHTS} has an attribute that Keras does not write: {part.name}")
