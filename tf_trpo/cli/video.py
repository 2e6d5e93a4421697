"""Videos of episodes, by imageio."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

SUFFIXES = (".mp4", ".gif")
_CODEC_BLOCK = 2
"""H.264 halves the resolution of colours: width and height have to be even."""


@contextlib.contextmanager
def open_video(path: Path, fps: float) -> Iterator[Callable[[np.ndarray], None]]:
    """Give a function that adds a frame, uint8 [height, width, 3]; frames are written as they come.

    Args:
      path: ends with .mp4 or .gif.
      fps: frames per second.

    Raises:
      ModuleNotFoundError: the extra is not installed.
      OSError: the file cannot be written.
    """
    options: dict[str, Any] = {"mode": "I", "duration": 1000 / fps, "loop": 0}
    if path.suffix == ".mp4":
        options = {"fps": fps, "macro_block_size": _CODEC_BLOCK}
    import imageio

    # ffmpeg would say at length what is wrong with the path.
    with open(path, "ab"):
        pass
    writer: Any = imageio.get_writer(path, **options)
    with writer:
        yield writer.append_data
