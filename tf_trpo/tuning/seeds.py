"""Seeds of a search and of its final check, which are disjoint."""

from __future__ import annotations

import numpy as np

_HALF = 2**30
"""Number of even seeds below 2^31, which are for the search; the odd ones are for the check."""
_SEARCH, _CHECK, _SAMPLER = 1, 2, 3


def search_seeds(seed: int, count: int) -> list[int]:
    """Return the seeds of a trial's runs, the same for every trial: `count` distinct even numbers."""
    return [2 * ((_first(seed, _SEARCH) + i) % _HALF) for i in range(count)]


def check_seeds(seed: int, count: int) -> list[int]:
    """Return the seeds of the final check: `count` distinct odd numbers."""
    return [2 * ((_first(seed, _CHECK) + i) % _HALF) + 1 for i in range(count)]


def sampler_seed(seed: int, trial: int) -> int:
    """Return the seed from which the settings of a trial are drawn."""
    return int(np.random.SeedSequence([seed, _SAMPLER, trial]).generate_state(1)[0])


def _first(seed: int, stream: int) -> int:
    return int(np.random.SeedSequence([seed, stream]).generate_state(1)[0])
