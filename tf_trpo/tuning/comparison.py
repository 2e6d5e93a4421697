"""Compare the best settings of a search with the default settings on seeds that the search has not used."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy import stats

_LEVEL = 0.95


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Returns of the best and the default settings on the same seeds.

    Attributes:
      seeds: seeds that the search has not used.
      default: mean return of the final evaluation with the default settings, for each seed.
      best: the same with the best settings of the search.
    """

    seeds: tuple[int, ...]
    default: tuple[float, ...]
    best: tuple[float, ...]

    @property
    def difference(self) -> float:
        """Mean over the seeds of the return of the best settings minus that of the default settings."""
        return float(np.mean(self._differences()))

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95% interval of the mean difference, by Student's t over pairs of equal seeds; None for one seed."""
        differences = self._differences()
        if len(differences) < 2:
            return None
        error = float(np.std(differences, ddof=1)) / np.sqrt(len(differences))
        reach = float(stats.t.ppf((1 + _LEVEL) / 2, len(differences) - 1)) * error
        return self.difference - reach, self.difference + reach

    @property
    def is_better(self) -> bool:
        """Whether the whole interval lies above 0."""
        return self.interval is not None and self.interval[0] > 0

    @property
    def is_worse(self) -> bool:
        """Whether the whole interval lies below 0."""
        return self.interval is not None and self.interval[1] < 0

    def verdict(self, value: float) -> str:
        """Return the result of the comparison as text.

        Args:
          value: the best trial's mean return in the search.
        """
        count = len(self.seeds)
        of = "1 fresh seed" if count == 1 else f"{count} fresh seeds"
        means = f"{np.mean(self.best):.4g} against {np.mean(self.default):.4g} of the default settings"
        text = f"On {of} the best settings return {means}"
        if self.interval is None:
            return f"{text}; one seed cannot show whether they are better: check more seeds."
        low, high = self.interval
        text += f" (mean difference {self.difference:.4g}, 95% interval {low:.4g} to {high:.4g})"
        if self.is_better:
            text += ": they are better."
        elif self.is_worse:
            text += ": they are WORSE. Keep the default settings."
        else:
            text += ": they are NOT shown to be better. Keep the default settings, or check more seeds."
        return f"{text} In the search, the best trial returned {value:.4g}; the best of many is always partly luck."

    def _differences(self) -> np.ndarray:
        return np.subtract(self.best, self.default)


def compared(seeds: Sequence[int], default: Sequence[float], best: Sequence[float]) -> Comparison:
    """Make a comparison; raise ValueError unless there is a return of both settings for every seed."""
    if not len(seeds) == len(default) == len(best) > 0:
        raise ValueError(f"{len(seeds)} seeds have {len(default)} and {len(best)} returns")
    return Comparison(tuple(seeds), tuple(default), tuple(best))
