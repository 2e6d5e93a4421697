"""Settings of the policy and of the value function."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class PolicySettings:
    """How a policy is made for an environment.

    The settings of the standard deviation and the likelihood hold for continuous actions only.

    Attributes:
      hidden_sizes: units of each layer of the MLP; empty for a linear policy.
      activation: a Keras activation, of the value function's MLP too.
      initial_std: the Gaussian's standard deviation at the start, > 0, in action units.
      final_std: the standard deviation is not learned, but goes geometrically from `initial_std` to this, > 0, over
        the run's environment steps; None for a learned one.
      state_dependent_std: let the standard deviation depend on the observation.
      clipped_likelihood: score actions as the environment sees them, clipped to its bounds: less variance if many lie
        beyond; see `Gaussian`.
      normalize_observations: running normalisation inside the policy and the value function.
      observation_min_std: features that spread less are divided by this, >= 0, and not made to spread by 1; in both.
      function_preserving: keep new statistics from moving the policy: its first layer takes the change in.
      mirror: respect the environment's mirror symmetry, in both.
      ema_momentum: evaluate and export the moving average of the policy's weights, in which the last
        1 / (1 - ema_momentum) iterations count, in [0, 1); None for the policy itself.

    Raises:
      ValueError: a setting is out of range.
    """

    hidden_sizes: tuple[int, ...] = (64, 64)
    activation: str = "tanh"
    initial_std: float = 1.0
    final_std: float | None = None
    state_dependent_std: bool = False
    clipped_likelihood: bool = False
    normalize_observations: bool = True
    observation_min_std: float = 0.0
    function_preserving: bool = True
    mirror: bool = False
    ema_momentum: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden_sizes", _checked_sizes("hidden_sizes", self.hidden_sizes))
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
    """How a value function is made for an environment, beside what it shares with `PolicySettings`.

    Attributes:
      value_hidden_sizes: units of each layer of the MLP; empty for a linear function.

    Raises:
      ValueError: a setting is out of range.
    """

    value_hidden_sizes: tuple[int, ...] = (64, 64)

    def __post_init__(self) -> None:
        sizes = _checked_sizes("value_hidden_sizes", self.value_hidden_sizes)
        object.__setattr__(self, "value_hidden_sizes", sizes)


def _checked_sizes(name: str, sizes: tuple[int, ...]) -> tuple[int, ...]:
    if any(size < 1 for size in sizes):
        raise ValueError(f"{name} must be at least 1 each, got {tuple(sizes)}")
    return tuple(sizes)
