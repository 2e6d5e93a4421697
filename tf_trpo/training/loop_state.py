"""What the fit loop holds between two iterations, beside the agent."""

from __future__ import annotations

import reprlib
from typing import Any, NamedTuple

import numpy as np

from tf_trpo.environments.state import EnvironmentState

_LARGEST = 2**63
"""No number of a loop is as large: TensorFlow counts in int64."""


class LoopState(NamedTuple):
    """The fit loop between two iterations, with B environments and the last W episodes.

    Attributes:
      environment: Gymnasium's id; empty where the fit was given none.
      settings: of the fit and of its updates, by name, as JSON has them: what a fit that goes on must have alike.
      start_steps: environment steps of the agent when the fit began.
      start_iterations: its iterations, likewise.
      elapsed: seconds of training until now.
      faults: numbers that were not finite, so far.
      discounted_returns: float32 [B], of the episodes so far, for the scale of the rewards.
      observations: float32 [B, ...], where the next rollout begins.
      just_ended: bool [B], whether an episode ended with the last step.
      episode_returns: float64 [B], of the episodes so far.
      episode_lengths: int64 [B], likewise.
      episodes: float64 [W, 2], return and length of the last ones.
      environments: their state; None if nobody knows where they keep it.
    """

    environment: str
    settings: dict[str, Any]
    start_steps: int
    start_iterations: int
    elapsed: float
    faults: int
    discounted_returns: np.ndarray
    observations: np.ndarray
    just_ended: np.ndarray
    episode_returns: np.ndarray
    episode_lengths: np.ndarray
    episodes: np.ndarray
    environments: EnvironmentState | None

    def packed(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """As JSON and as arrays."""
        values = self._asdict()
        environments = values.pop("environments")
        arrays = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
        plain = {name: value for name, value in values.items() if name not in arrays}
        plain["environments"] = None if environments is None else environments.plain
        if environments is not None:
            arrays |= {f"environments/{key}": array for key, array in environments.arrays.items()}
        return plain, arrays

    @classmethod
    def unpacked(cls, plain: dict[str, Any], arrays: dict[str, np.ndarray]) -> LoopState:
        """The inverse of `packed`.

        Raises:
          ValueError: a part is missing, or of another type.
        """
        prefix = "environments/"
        own = {name: array for name, array in arrays.items() if not name.startswith(prefix)}
        others = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
        types: dict[str, Any] = {
            "start_steps": int,
            "start_iterations": int,
            "elapsed": float,
            "faults": int,
        }
        numbers = dict(plain)
        environments, environment, settings = (
            numbers.pop(name, None) for name in ("environments", "environment", "settings")
        )
        if numbers.keys() != types.keys() or any(type(numbers[name]) is not types[name] for name in types):
            raise ValueError("the state of the fit loop lacks parts")
        if not all(0 <= number < _LARGEST for number in numbers.values()):
            raise ValueError("the state of the fit loop has numbers that no loop has")
        if not isinstance(environment, str):
            raise ValueError("the state of the fit loop names no environment")
        if not isinstance(settings, dict):
            raise ValueError("the state of the fit loop has no settings")
        if own.keys() | numbers.keys() | {"environment", "environments", "settings"} != set(cls._fields):
            raise ValueError("the state of the fit loop lacks arrays")
        state = None if environments is None else EnvironmentState(environments, others)
        values: dict[str, Any] = {**numbers, **own, "environment": environment, "settings": settings}
        return cls(**values, environments=state)

    def check_settings(self, settings: dict[str, Any]) -> None:
        """Raise ValueError, which names the first that differ, unless these are the same settings."""
        names = sorted(self.settings.keys() | settings.keys())
        then, now = ({name: source.get(name) for name in names} for source in (self.settings, settings))
        short = reprlib.repr
        differing = [
            f"{name if name in settings else short(name)} {short(then[name])}, not {short(now[name])}"
            for name in names
            if then[name] != now[name]
        ]
        if differing:
            raise ValueError(f"it is of a fit with {'; '.join(differing[:5])}")

    def check(self, observation_shape: tuple[int, ...], num_envs: int) -> None:
        """Raise ValueError unless the arrays are those of so many environments, with values that they can have."""
        expected = {
            "discounted_returns": ((num_envs,), np.float32),
            "observations": ((num_envs, *observation_shape), np.float32),
            "just_ended": ((num_envs,), np.bool_),
            "episode_returns": ((num_envs,), np.float64),
            "episode_lengths": ((num_envs,), np.int64),
            "episodes": ((*self.episodes.shape[:1], 2), np.float64),
        }
        for name, (shape, dtype) in expected.items():
            array = getattr(self, name)
            if array.shape != shape or array.dtype != dtype:
                raise ValueError(f"{name} of the checkpoint is {array.dtype} {array.shape}, here {dtype} {shape}")
        # The discounted returns may overflow, which is a fault that the update deals with.
        for name in ("observations", "episode_returns", "episodes"):
            if not np.isfinite(getattr(self, name)).all():
                raise ValueError(f"{name} of the checkpoint are not finite")
        if min(self.episode_lengths.min(), self.episodes[:, 1].min(initial=0)) < 0:
            raise ValueError("an episode of the checkpoint has a negative length")
