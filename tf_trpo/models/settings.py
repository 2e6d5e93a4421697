"""Settings of the policy and of the value function."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal

from tf_trpo.ranges import require, require_allowed

MemoryKind = Literal["gru", "lstm"]
_WIDEST = 16_384
_MOST_LAYERS = 64
_MOST_WEIGHTS = 2**28
"""Maximum number of weights between the hidden layers of one network: 1 GiB."""
_MOST_UNITS = 8192
"""Maximum number of units of a memory: an LSTM then has this maximum number of recurrent weights."""


@dataclass(frozen=True)
class PolicySettings:
    """Settings of a policy for an environment.

    The settings of distribution, standard deviation and likelihood are for continuous actions only.

    Raises:
      ValueError: a setting is out of range.
    """

    hidden_sizes: tuple[int, ...] = (64, 64)
    """Units of each hidden layer of the MLP; empty for a linear policy."""
    activation: str = "tanh"
    """Keras activation of the MLPs of the policy and the value function."""
    distribution: Literal["gaussian", "beta"] = "gaussian"
    """Distribution of continuous actions. beta needs two bounds; initial_std, final_std, state_dependent_std and
    clipped_likelihood must then have their defaults."""
    initial_std: float | None = None
    """Initial standard deviation of the Gaussian, >= 1e-6, as a fraction of half the range between an action's bounds,
    or in the action's own units if it does not have two bounds. None: 1, or 4 / d for d > 4 dimensions of continuous
    actions."""
    final_std: float | None = None
    """Final standard deviation, >= 1e-6, in the same unit. If set, the standard deviation is not learned, but follows a
    geometric schedule from initial_std to this value over the run's environment steps. None to learn it."""
    state_dependent_std: bool = False
    """Let the standard deviation depend on the observation."""
    clipped_likelihood: bool = False
    """Use the likelihood of clipped actions: less variance if many actions exceed the environment's bounds."""
    normalize_observations: bool = True
    """Normalise vectors by running statistics in the policy and the value function, and let the default networks scale
    images and choices, so that all inputs are about as large."""
    observation_min_std: float = 0.0
    """Lower limit of the standard deviation by which a feature is divided, >= 0."""
    function_preserving: bool = True
    """Adjust the policy's first layer when the statistics change, so that the policy stays the same. This has no effect
    in a network of your own that begins with another layer than a Dense layer."""
    memory: MemoryKind | None = None
    """Recurrent cell before the output layers of the policy and of the value function, which remembers earlier
    observations of the episode. None: no memory."""
    memory_units: int | None = None
    """Units of the memory, in [1, 8192]; None: 64 if there is a memory."""
    memory_span: float | None = None
    """Initial time constant of the memory's slowest unit, in rows, in [2, 100000]: how far back the policy must look.
    The other units are faster; training can change them. None: 2, for velocities and the like."""
    mirror: bool = False
    """Respect the environment's mirror symmetry in the policy and the value function."""
    ema_momentum: float | None = 0.9
    """Evaluate and export a moving average of the policy's weights over about the last 1 / (1 - ema_momentum)
    iterations, at first over the last quarter of the iterations. In [0, 1). None for the policy itself."""

    def __post_init__(self) -> None:
        require_allowed(self, initial_std="[1e-6, inf)", final_std="[1e-6, inf)")
        require_allowed(self, observation_min_std="[0, inf)", ema_momentum="[0, 1)")
        require_allowed(self, memory_units=f"[1, {_MOST_UNITS}]", memory_span="[2, 100000]")
        _check_sizes("hidden_sizes", self.hidden_sizes)
        for name in ("memory_units", "memory_span"):
            if getattr(self, name) is not None and self.memory is None:
                raise ValueError(f"{name} must be None without a memory: set memory in the same settings")
        if self.memory is not None and self.mirror:
            raise ValueError(
                "memory and mirror exclude each other, since an observation and its image would need separate "
                "memories: set mirror to False, on the command line by --no-mirror"
            )
        if self.observation_min_std and not self.normalize_observations:
            raise ValueError("observation_min_std must be 0 if normalize_observations is off: nothing is divided by it")
        if self.state_dependent_std and self.final_std is not None:
            raise ValueError("final_std: a standard deviation that depends on the observation is learned")


@dataclass(frozen=True)
class ValueSettings:
    """Settings of a value function for an environment; others are shared with the policy, in `PolicySettings`.

    Raises:
      ValueError: a setting is out of range.
    """

    value_hidden_sizes: tuple[int, ...] = (64, 64)
    """Units of each hidden layer of the value function's MLP; empty for a linear function."""

    def __post_init__(self) -> None:
        require_allowed(self)
        _check_sizes("value_hidden_sizes", self.value_hidden_sizes)


def _check_sizes(name: str, sizes: tuple[int, ...]) -> None:
    require(min(sizes, default=1) >= 1, name, "at least 1 each", sizes)
    require(max(sizes, default=1) <= _WIDEST, name, f"at most {_WIDEST} each", sizes)
    weights = sum(first * second for first, second in itertools.pairwise(sizes))
    fits = len(sizes) <= _MOST_LAYERS and weights <= _MOST_WEIGHTS
    require(fits, name, f"at most {_MOST_LAYERS} layers with {_MOST_WEIGHTS} weights between them", sizes)
