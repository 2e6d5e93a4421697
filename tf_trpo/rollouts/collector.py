"""Stepping a vector environment by a policy."""

from __future__ import annotations

import numpy as np
from gymnasium.vector import VectorEnv

from tf_trpo.environments import EnvironmentFailedError, InvalidStepError, reset_some
from tf_trpo.environments.failures import described
from tf_trpo.rollouts.actor import Actor
from tf_trpo.rollouts.rollout import Rollout


class Collector:
    """Collects rollouts; episodes go on from one rollout to the next.

    Args:
      environments: with NEXT_STEP autoreset, as `make_vector_environment` gives them.
      actor: the policy, for as many environments.
      seed: of the environments' first reset, one for each or one for all; random by default.

    Attributes:
      observations: float32 [B, ...], where the next rollout begins.
      just_ended: bool [B], whether an episode ended with the last step, so that the next row is no step.

    Raises:
      EnvironmentFailedError: an environment cannot be reset.
    """

    def __init__(self, environments: VectorEnv, actor: Actor, *, seed: int | list[int] | None = None) -> None:
        self._environments = environments
        self._actor = actor
        self._action_dtype = environments.single_action_space.dtype
        self.restart(seed)

    def restart(self, seed: int | list[int] | None) -> None:
        """Begin new episodes in all environments.

        Raises:
          EnvironmentFailedError: an environment cannot be reset.
        """
        try:
            observations, _ = self._environments.reset(seed=seed)  # type: ignore[arg-type]  # every vector takes a list
        except (Exception, SystemExit) as error:
            raise EnvironmentFailedError(f"{_reason(error)}, when reset") from error
        with np.errstate(over="ignore"):  # infinite in float32: `collect` says so
            self.observations = np.array(observations, np.float32)
        self.just_ended = np.zeros(self._environments.num_envs, bool)

    def restart_some(self, chosen: np.ndarray) -> None:
        """Begin new episodes in the chosen environments, bool [B], between two rollouts; the others go on.

        The old ones were cut off where the last rollout ended, as all are there: their value was bootstrapped.

        Raises:
          InvalidStepError: an observation has another shape than it should; all environments have to be restarted.
          EnvironmentFailedError: an environment cannot be reset.
        """
        try:
            observations = reset_some(self._environments, chosen)
        except InvalidStepError:
            raise
        except (Exception, SystemExit) as error:
            raise EnvironmentFailedError(f"{_reason(error)}, when reset") from error
        with np.errstate(over="ignore"):  # as in restart
            self.observations[chosen] = observations[chosen]
        self.just_ended[chosen] = False

    def collect(self, noise: np.ndarray) -> Rollout:
        """Take one step in every environment for each row of noise.

        Args:
          noise: [T, B, ...], of the policy's `noise`.

        Returns:
          A `Rollout` of T steps, in newly allocated arrays.

        Raises:
          InvalidStepError: an observation or a reward has another shape than it should, or is not finite in
            float32; the environments have to be restarted.
          EnvironmentFailedError: an environment raised, hung or died.
        """
        num_steps, num_envs = noise.shape[:2]
        observations = np.empty((num_steps + 1, *self.observations.shape), np.float32)
        rewards = np.empty((num_steps, num_envs), np.float64)
        terminated = np.empty((num_steps, num_envs), bool)
        truncated = np.empty((num_steps, num_envs), bool)
        actions = []
        observations[0] = self.observations
        shape = self.observations.shape
        for t in range(num_steps):
            sampled, action = self._actor(observations[t], noise[t])
            actions.append(sampled)
            try:
                observed, reward, terminated[t], truncated[t], _ = self._environments.step(
                    action.astype(self._action_dtype, copy=False)
                )
                if np.shape(observed) != shape or np.shape(reward) != shape[:1]:
                    raise InvalidStepError(_misshapen(observed, reward, shape))
            except (Exception, SystemExit) as error:
                # What an environment does with the action that follows such an observation is not its fault.
                _check_finite(observations[: t + 1], rewards[:t])
                kind = InvalidStepError if isinstance(error, InvalidStepError) else EnvironmentFailedError
                raise kind(f"{_reason(error)}, in row {t}") from error
            rewards[t] = reward
            with np.errstate(over="ignore"):
                observations[t + 1] = observed
        rollout = self._rollout(observations, np.stack(actions), rewards, terminated, truncated)
        _check_finite(observations, rollout.rewards)
        return rollout

    def _rollout(
        self,
        observations: np.ndarray,
        actions: np.ndarray,
        rewards: np.ndarray,
        terminated: np.ndarray,
        truncated: np.ndarray,
    ) -> Rollout:
        """Mark the rows that follow an episode's end, which are no steps, and remember where this ends."""
        ended = terminated | truncated
        valid = np.empty_like(ended)
        valid[0] = ~self.just_ended
        valid[1:] = ~ended[:-1]
        self.just_ended = ended[-1]
        self.observations = observations[-1].copy()
        return Rollout(
            observations, actions, np.where(valid, rewards, 0.0), terminated & valid, truncated & valid, valid
        )


def _misshapen(observations: np.ndarray, rewards: np.ndarray, shape: tuple[int, ...]) -> str:
    given = f"observations of shape {np.shape(observations)} and rewards of shape {np.shape(rewards)}"
    return f"the environments gave {given}, not {shape} and {shape[:1]}"


def _check_finite(observations: np.ndarray, rewards: np.ndarray) -> None:
    """Raise InvalidStepError for the first number that is not finite in float32."""
    largest = np.finfo(np.float32).max
    faults = []
    # Row t of the observations is what step t - 1 led to.
    for name, numbers, since in (("an observation", observations, 1), ("a reward", rewards, 0)):
        # Not a number is not at most anything.
        fine = np.abs(numbers) <= largest
        if not fine.all():
            place = tuple(np.argwhere(~fine)[0])
            faults.append((int(place[0]) - since, int(place[1]), name, numbers[place]))
    if faults:
        row, index, name, number = min(faults)
        where = f"in row {row}" if row >= 0 else "when the rollout began"
        raise InvalidStepError(f"environment {index} gave {name} that is not finite ({number}), {where}")


def _reason(error: BaseException) -> str:
    if isinstance(error, EnvironmentFailedError | InvalidStepError):
        return str(error)
    return f"the environments raised {described(error)}"
