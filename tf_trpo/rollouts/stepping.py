"""Stepping a vector environment by a policy for one rollout."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from gymnasium.vector import VectorEnv

from tf_trpo.environments import EnvironmentFailedError, InvalidStepError
from tf_trpo.environments.failures import reason
from tf_trpo.rollouts.actor import Actor


class Rollout(NamedTuple):
    """T steps of B environments, time-major.

    With NEXT_STEP autoreset, the row after an episode's end is no step of any episode: its
    observation is the true final observation, its action is ignored, its reward is 0, and `valid` is
    False. So row t + 1 always holds the true successor of a valid row t.

    Attributes:
      observations: float32 [T + 1, B, ...]; row T follows the last step.
      actions: [T, B, ...], as sampled: never clipped.
      rewards: float64 [T, B], the environment's own; 0 where not valid.
      terminated: bool [T, B], the step ended its episode in a terminal state.
      truncated: bool [T, B], the step ended its episode for another reason, such as a time limit.
      valid: bool [T, B], the row is a step of an episode.
    """

    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    valid: np.ndarray


def collect_rollout(
    environments: VectorEnv, actor: Actor, observations: np.ndarray, just_ended: np.ndarray, noise: np.ndarray
) -> tuple[Rollout, np.ndarray]:
    """Take one step in every environment for each row of noise.

    Args:
      environments: B environments with NEXT_STEP autoreset.
      actor: the policy for B environments.
      observations: float32 [B, ...], where the environments stand.
      just_ended: bool [B], whether an episode ended with the step before, so that row 0 is no step.
      noise: [T, B, ...], of the action distribution's `noise`.

    Returns:
      A `Rollout` of T steps in new arrays, and the actions [T, B, ...] as the environments were given them.

    Raises:
      InvalidStepError: an observation or a reward has a wrong shape, or is not finite in float32; restart the
        environments.
      EnvironmentFailedError: an environment raised, hung or died.
    """
    num_steps, shape = len(noise), observations.shape
    observed = np.empty((num_steps + 1, *shape), np.float32)
    rewards = np.empty((num_steps, shape[0]), np.float64)
    terminated, truncated = np.empty((2, num_steps, shape[0]), bool)
    sampled, given = [], []
    dtype = environments.single_action_space.dtype
    observed[0] = observations
    for t in range(num_steps):
        actions = actor(observed[t], noise[t])
        sampled.append(actions.sampled)
        given.append(actions.environment.astype(dtype, copy=False))
        try:
            observation, reward, terminated[t], truncated[t], _ = environments.step(given[t])
            if np.shape(observation) != shape or np.shape(reward) != shape[:1]:
                raise InvalidStepError(_misshapen(observation, reward, shape))
        except (Exception, SystemExit) as error:
            # What an environment does with the action that follows such an observation is not its fault.
            _check_finite(observed[: t + 1], rewards[:t])
            kind = InvalidStepError if isinstance(error, InvalidStepError) else EnvironmentFailedError
            raise kind(f"{reason(error)}, in row {t}") from error
        rewards[t] = reward
        with np.errstate(over="ignore"):
            observed[t + 1] = observation
    # The rows that follow an episode's end are no steps.
    valid = np.concatenate([~just_ended[None], ~(terminated | truncated)[:-1]])
    rewards = np.where(valid, rewards, 0.0)
    _check_finite(observed, rewards)
    rollout = Rollout(observed, np.stack(sampled), rewards, terminated & valid, truncated & valid, valid)
    return rollout, np.stack(given)


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
        at = f"in row {row}" if row >= 0 else "when the rollout began"
        raise InvalidStepError(f"environment {index} gave {name} that is not finite ({number}), {at}")
