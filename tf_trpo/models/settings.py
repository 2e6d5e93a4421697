"""Settings of the policy and of the value function. This module does not import TensorFlow."""

from __future__ import annotations

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class PolicySettings:
    """The policy. `activation`, the normalisation of observations and `mirror` hold for the value function too.

    Raises:
      ValueError: a setting is outside its range.
    """

    hidden_sizes: tuple[int, ...] = (64, 64)
    """Units of each hidden layer."""
    activation: str = "tanh"
    """Keras activation of the policy and of the value function."""
    initial_std: float = 1.0
    """Standard deviation of the Gaussian at the start, in action units, > 0."""
    final_std: float | None = None
    """Standard deviation at the end of the run, reached geometrically, > 0; None to learn the standard deviation."""
    state_dependent_std: bool = False
    """Let the standard deviation depend on the observation."""
    clipped_likelihood: bool = False
    """Score actions as the environment sees them, clipped to its bounds: less variance if many lie beyond."""
    normalize_observations: bool = True
    """Normalise observations by their running mean and standard deviation."""
    observation_min_std: float = 0.0
    """Divide a feature that spreads less by this, >= 0: a feature that is nearly always 0 is then not blown up."""
    function_preserving: bool = True
    """Keep new statistics of observations from moving the policy: its first layer takes the change in."""
    mirror: bool = False
    """Give both models the mirror symmetry of the environment, if one is known; they then compute twice the rows."""
    ema_momentum: float | None = None
    """Evaluate and export the mean of about 1 / (1 - this) iterations' policies, in [0, 1); None: the last policy."""

    def __post_init__(self) -> None:
        _check_sizes("hidden_sizes", self.hidden_sizes)
        for name in ("initial_std", "final_std"):
            std = getattr(self, name)
            if std is not None and not 0 < std < math.inf:
                raise ValueError(f"{name} must be positive and finite, got {std}")
        if self.state_dependent_std and self.final_std is not None:
            raise ValueError("final_std must be None with state_dependent_std, which is learned")
        if not 0 <= self.observation_min_std < math.inf:
            raise ValueError(f"observation_min_std must be at least 0 and finite, got {self.observation_min_std}")
        if self.ema_momentum is not None and not 0 <= self.ema_momentum < 1:
            raise ValueError(f"ema_momentum must lie in [0, 1), got {self.ema_momentum}")


@dataclasses.dataclass(frozen=True)
class ValueSettings:
    """The value function.

    Raises:
      ValueError: a setting is outside its range.
    """

    value_hidden_sizes: tuple[int, ...] = (64, 64)
    """Units of each hidden layer."""

    def __post_init__(self) -> None:
        _check_sizes("value_hidden_sizes", self.value_hidden_sizes)


def _check_sizes(name: str, sizes: tuple[int, ...]) -> None:
    if min(sizes, default=1) < 1:
        raise ValueError(f"{name} must be at least 1, got {min(sizes)}")
