"""Settings of the policy and of the value function."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class PolicySettings:
    """How a policy is made for an environment.

    The settings of the distribution, the standard deviation and the likelihood hold for continuous actions only.

    Raises:
      ValueError: a setting is out of range.
    """

    hidden_sizes: tuple[int, ...] = (64, 64)
    """Units of each layer of the MLP; empty for a linear policy."""
    activation: str = "tanh"
    """A Keras activation, of the value function's MLP too."""
    distribution: Literal["gaussian", "beta"] = "gaussian"
    """Of continuous actions. A Beta distribution needs two bounds, and has no use for the next four settings."""
    initial_std: float = 1.0
    """The Gaussian's standard deviation at the start, > 0, as a share of half the range between an action's bounds; in
    action units without two bounds."""
    final_std: float | None = None
    """Do not learn the standard deviation: it goes geometrically from initial_std to this, > 0, a share too, over the
    run's environment steps. None to learn it."""
    state_dependent_std: bool = False
    """Let the standard deviation depend on the observation."""
    clipped_likelihood: bool = False
    """Score actions as the environment sees them, clipped to its bounds: less variance if many actions lie beyond."""
    normalize_observations: bool = True
    """Normalise observations by running statistics, inside the policy and the value function."""
    observation_min_std: float = 0.0
    """Divide features that spread less by this, >= 0, instead of by their standard deviation; in both."""
    function_preserving: bool = True
    """Keep new statistics from moving the policy: its first layer takes the change in."""
    mirror: bool = False
    """Respect the environment's mirror symmetry, in both."""
    ema_momentum: float | None = None
    """Evaluate and export the moving average of the policy's weights, in which the last 1 / (1 - ema_momentum)
    iterations count, in [0, 1). None for the policy itself."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden_sizes", _checked_sizes("hidden_sizes", self.hidden_sizes))
        if self.distribution not in ("gaussian", "beta"):
            raise ValueError(f"distribution must be gaussian or beta, got {self.distribution!r}")
        for name in ("initial_std", "final_std"):
            std = getattr(self, name)
            if std is not None and not 0 < std < math.inf:
                raise ValueError(f"{name} must be positive and finite, got {std}")
        if self.state_dependent_std and self.final_std is not None:
            raise ValueError("final_std: a standard deviation that depends on the observation is learned")
        if not 0 <= self.observation_min_std < math.inf:
            raise ValueError(f"observation_min_std must be finite and not negative, got {self.observation_min_std}")
        if self.ema_momentum is not None and not 0 <= self.ema_momentum < 1:
            raise ValueError(f"ema_momentum must lie in [0, 1), got {self.ema_momentum}")


@dataclass(frozen=True)
class ValueSettings:
    """How a value function is made for an environment, in addition to what it shares with `PolicySettings`.

    Raises:
      ValueError: a setting is out of range.
    """

    value_hidden_sizes: tuple[int, ...] = (64, 64)
    """Units of each layer of the value function's MLP; empty for a linear function."""

    def __post_init__(self) -> None:
        sizes = _checked_sizes("value_hidden_sizes", self.value_hidden_sizes)
        object.__setattr__(self, "value_hidden_sizes", sizes)


def _checked_sizes(name: str, sizes: tuple[int, ...]) -> tuple[int, ...]:
    if any(size < 1 for size in sizes):
        raise ValueError(f"{name} must be at least 1 each, got {tuple(sizes)}")
    return tuple(sizes)
