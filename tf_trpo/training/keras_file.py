"""Checks of an agent's .keras file before Keras reads it.

The file is a zip archive of metadata.json, config.json and model.weights.h5, all uncompressed. The checks create no
object from the file, import nothing, and allocate no more memory than the size of the file.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Mapping
from typing import Any

import h5py

from tf_trpo.files import read_untrusted
from tf_trpo.training.keras_config import check_config

_CONFIG = "config.json"
_WEIGHTS = "model.weights.h5"
_MEMBERS = {"metadata.json", _CONFIG, _WEIGHTS}
_LARGEST = 2**32
"""Largest size of the file, in bytes."""
_LARGEST_JSON = 2**24
_MOST_OBJECTS = 100_000
_BFLOAT16 = "|V2"
"""The dtype as which Keras stores bfloat16: two opaque bytes."""


def read_checked(path: str | os.PathLike[str], custom_objects: Mapping[str, Any], root: type) -> tuple[bytes, int]:
    """Read an agent's file, and check that loading its content can do no more than make an agent.

    Args:
      path: the file.
      custom_objects: classes and functions by name that config.json may name in addition to the registered ones.
      root: class of the object that the file must hold.

    Returns:
      The content of the file, and the size of all its arrays in bytes.

    Raises:
      ValueError, OSError, zipfile.BadZipFile: the file cannot be read, is damaged or dangerous, or holds no agent.
    """
    content = read_untrusted(path, _LARGEST)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        _check_archive(archive)
        # Reading a member to its end compares it with its checksum.
        members = {name: archive.read(name) for name in _MEMBERS}
    try:
        config = json.loads(members[_CONFIG])
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its {_CONFIG} is not readable JSON: {error}") from None
    check_config(config, custom_objects, root)
    return content, _checked_size(members[_WEIGHTS])


def _check_archive(archive: zipfile.ZipFile) -> None:
    entries = archive.infolist()
    if len(entries) != len(_MEMBERS) or {entry.filename for entry in entries} != _MEMBERS:
        raise ValueError(f"it does not hold exactly {', '.join(sorted(_MEMBERS))}, as agent.save writes them")
    for entry in entries:
        name, size = entry.filename, entry.file_size
        # Uncompressed members cannot be larger in memory than in the file.
        if entry.compress_type != zipfile.ZIP_STORED or size != entry.compress_size or entry.flag_bits & 1:
            raise ValueError(f"its {name} is compressed or encrypted, which agent.save does not do")
        if name != _WEIGHTS and size > _LARGEST_JSON:
            raise ValueError(f"its {name} has {size} bytes, more than {_LARGEST_JSON}")


def _checked_size(weights: bytes) -> int:
    """Return the bytes of all arrays in an HDF5 file; refuse everything but groups and arrays stored in the file."""
    size = 0
    with h5py.File(io.BytesIO(weights), "r") as file:
        seen: set[int] = set()
        # Neither recursion nor h5py's visititems: a file may nest groups too deeply for them.
        waiting: list[h5py.Group] = [file]
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
                if isinstance(part, h5py.Group):
                    waiting.append(part)
                else:
                    size += _bytes(part)
    # Two arrays may claim the same bytes of the file.
    if size > len(weights):
        raise ValueError(f"its {_WEIGHTS} claims arrays of {size} bytes, more than it has")
    return size


def _bytes(array: Any) -> int:
    """Return the bytes of an array of numbers; refuse one that is not stored as by Keras: contiguous, uncompressed."""
    numeric = isinstance(array, h5py.Dataset) and (array.dtype.kind in "biuf" or array.dtype.str == _BFLOAT16)
    if not numeric or array.shape is None:
        raise ValueError(f"its {_WEIGHTS} has something else than an array of numbers: {array.name}")
    layout = array.id.get_create_plist()
    if layout.get_layout() != h5py.h5d.CONTIGUOUS or layout.get_external_count():
        raise ValueError(f"its {_WEIGHTS} has an array that is compressed, or not in the file: {array.name}")
    size = int(array.size * array.dtype.itemsize)
    if array.id.get_storage_size() != size:
        raise ValueError(f"its {_WEIGHTS} has an array that claims {size} bytes and does not have them: {array.name}")
    return size
