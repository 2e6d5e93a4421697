"""The generators of random numbers that a whole process shares."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import numpy as np


def seed_generators(seed: int) -> None:
    """Seed `random` and `np.random`, for environments that use them.

    keras.utils.set_random_seed would also discard what TensorFlow has compiled for earlier agents, and no part of an
    agent uses TensorFlow's global seed.
    """
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002


@contextlib.contextmanager
def generators_kept() -> Iterator[None]:
    """Restore the states of `random` and `np.random` at the end, so that the program's own numbers stay random."""
    before, of_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(before)
        np.random.set_state(of_numpy)  # noqa: NPY002
