"""Collection of one rollout: a policy acts in a vector environment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from gymnasium.vector import VectorEnv

from tf_trpo.environments import EnvironmentFailedError, InvalidStepError
from tf_trpo.environments.costs import COSTS
from tf_trpo.environments.failures import reason
from tf_trpo.environments.infos import kept_costs, kept_infos
from tf_trpo.environments.own_vectors import PAUSED
from tf_trpo.environments.sync import write_row
from tf_trpo.rollouts.actor import Actions, Actor, States
from tf_trpo.rollouts.branches import Branches
from tf_trpo.spaces import Spec, flatten_to, is_finite, map_parts


class Remembered(NamedTuple):
    """States of a policy's memory in a rollout, and where they were reset.

    Attributes:
      states: before each row, arrays [T + 1, B, ...]; row T follows the last step.
      ends: bool [T, B], the memory is reset after the row, which shows an episode's final observation.
      holds: bool [T, B], the row is a pause within an episode, which does not change the memory.
    """

    states: States
    ends: np.ndarray
    holds: np.ndarray


class Rollout(NamedTuple):
    """T steps of B environments, time-major.

    With NEXT_STEP autoreset, the row after an episode's end is not a step of any episode: its
    observation is the true final observation, its action is ignored, its reward is 0, and `valid` is
    False. So row t + 1 always holds the true successor of a valid row t.

    Attributes:
      observations: a nest of arrays [T + 1, B, ...], in the types of the environment; row T follows the last step.
      actions: [T, B, ...], as sampled: never clipped.
      rewards: float64 [T, B], the environment's own; 0 where not valid.
      terminated: bool [T, B], the step ended its episode in a terminal state.
      truncated: bool [T, B], the step ended its episode for another reason, such as a time limit.
      valid: bool [T, B], the row is a step of an episode, and not a pause.
      infos: float64 [T, B] for each info key that is recorded at episode ends; NaN elsewhere, and if absent. Empty in
        an update, which does not use them.
      memory: states of the policy's memory; empty without a memory.
      costs: float64 [T, B, C], of C costs; 0 where not valid. Empty without costs.
      begun: bool [B], the environment began another episode before row 0, because its unfinished one was lost and could
        not be replayed; empty if no episode was lost, and in an update.
      branches: branches from states of the rollout, which leave it unchanged; empty without branches.
    """

    observations: Any
    actions: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    valid: np.ndarray
    infos: dict[str, np.ndarray] | tuple[()] = ()
    memory: Remembered | tuple[()] = ()
    costs: np.ndarray | tuple[()] = ()
    begun: np.ndarray | tuple[()] = ()
    branches: Branches | tuple[()] = ()

    @property
    def branch_steps(self) -> int:
        """Environment steps that the branches took."""
        return int(self.branches.steps.sum()) if isinstance(self.branches, Branches) else 0

    @property
    def env_steps(self) -> int:
        """Environment steps that were taken, those of branches included."""
        return int(self.valid.sum()) + self.branch_steps


class _Remembering:
    """Tracks the states of a policy's memory through a rollout.

    Attributes:
      states: the present states, arrays [B, ...].
    """

    def __init__(self, actor: Actor, states: States, just_ended: np.ndarray) -> None:
        self.states = states
        self._actor = actor
        self._ended = just_ended
        self._rows: list[tuple[States, np.ndarray, np.ndarray]] = []

    def act(self, observations: Any, noise: np.ndarray) -> Actions:
        self._actions = self._actor(observations, noise, self.states)
        return self._actions

    def move(self, ended: np.ndarray, paused: np.ndarray) -> None:
        """Record a row and advance the states; where an episode ended, bool [B], they are reset after the next row."""
        after = self._actions.states
        self._rows.append((self.states, self._ended, paused))
        for new, old, first in zip(after, self.states, self._actor.initial_states, strict=True):
            new[self._ended], new[paused] = first[self._ended], old[paused]
        self.states, self._ended = after, ended

    def remembered(self) -> Remembered:
        states, ends, holds = zip(*self._rows, strict=True)
        parts = (np.stack(part) for part in zip(*states, self.states, strict=True))
        return Remembered(tuple(parts), np.stack(ends), np.stack(holds))


def collect_rollout(
    environments: VectorEnv,
    actor: Actor,
    spec: Spec,
    observations: Any,
    just_ended: np.ndarray,
    noise: np.ndarray,
    states: States = (),
    branch: Callable[[int, Any, np.ndarray], None] | None = None,
) -> Rollout:
    """Take one step in every environment for each row of noise.

    Args:
      environments: B environments with NEXT_STEP autoreset.
      actor: the policy for B environments.
      spec: of one observation.
      observations: the present observations, a nest of arrays [B, ...].
      just_ended: bool [B], whether an episode ended with the step before, so that row 0 is not a step.
      noise: [T, B, ...], of the action distribution's `noise`.
      states: of the policy's memory before row 0, arrays [B, ...]; empty without a memory.
      branch: function to call before each row, as `Brancher.begin` returns it; None without branches.

    Returns:
      A `Rollout` of T steps in new arrays, without branches.

    Raises:
      InvalidStepError: a number is not finite in float32; restart the environments.
      EnvironmentFailedError: an environment raised, hung or died, or returned values outside its spaces.
    """
    num_steps, num_envs = len(noise), len(just_ended)
    kept = map_parts(lambda part: np.empty((num_steps + 1, num_envs, *part.shape), part.dtype), spec)
    numbers = [array for array in flatten_to(spec, kept) if array.dtype.kind == "f"]
    rewards = np.empty((num_steps, num_envs), np.float64)
    terminated, truncated = np.empty((2, num_steps, num_envs), bool)
    paused = np.zeros((num_steps, num_envs), bool)
    figures = {key: np.full((num_steps, num_envs), np.nan) for key in kept_infos(environments)}
    costs = np.zeros((num_steps, num_envs, len(kept_costs(environments))))
    sampled, memory = [], _Remembering(actor, states, just_ended) if states else None
    write_row(kept, 0, observations)
    # All views are made in advance: traversing a nest takes as long as a cheap environment's step.
    rows = list(kept) if isinstance(kept, np.ndarray) else [_row(spec, kept, t) for t in range(num_steps + 1)]
    for t in range(num_steps):
        actions = actor(rows[t], noise[t]) if memory is None else memory.act(rows[t], noise[t])
        sampled.append(actions.sampled)
        try:
            if branch is not None:
                branch(t, rows[t], terminated[t - 1] | truncated[t - 1] if t else just_ended)
            observation, rewards[t], terminated[t], truncated[t], infos = environments.step(actions.environment)
        except (Exception, SystemExit) as error:
            # If an earlier number is not finite, that is the cause to report: the action followed from it.
            _check_finite([array[: t + 1] for array in numbers], rewards[:t])
            raise _failure(error, t) from error
        write_row(kept, t + 1, observation)
        if PAUSED in infos:
            paused[t] = infos[PAUSED]
        if memory is not None:
            memory.move(terminated[t] | truncated[t], paused[t])
        for key in figures:
            figures[key][t] = infos.get(key, np.nan)
        if COSTS in infos:
            costs[t] = infos[COSTS]
    # Rows after an episode's end are not steps, nor are pauses.
    valid = np.concatenate([~just_ended[None], ~(terminated | truncated)[:-1]]) & ~paused
    rewards, costs = np.where(valid, rewards, 0.0), np.where(valid[..., None], costs, 0.0)
    _check_finite(numbers, rewards, costs)
    flags = terminated & valid, truncated & valid, valid
    remembered = memory.remembered() if memory else ()
    return Rollout(kept, np.array(sampled), rewards, *flags, figures, remembered, costs if costs.shape[-1] else ())


def _failure(error: BaseException, row: int) -> InvalidStepError | EnvironmentFailedError:
    kind = InvalidStepError if isinstance(error, InvalidStepError) else EnvironmentFailedError
    failure = kind(f"{reason(error)}, in row {row}")
    failure.row = row
    return failure


def _row(spec: Spec, arrays: Any, row: int) -> Any:
    return map_parts(lambda _, array: array[row], spec, arrays)


def _check_finite(observations: list[np.ndarray], rewards: np.ndarray, *costs: np.ndarray) -> None:
    """Raise InvalidStepError for the first number that is not finite in float32."""
    faults = []
    # Row t of the observations is the result of step t - 1.
    checked = [*(("an observation", part, 1) for part in observations), ("a reward", rewards, 0)]
    checked += [("a cost", part, 0) for part in costs]
    for name, numbers, since in checked:
        fine = is_finite(numbers)
        if not fine.all():
            place = tuple(np.argwhere(~fine)[0])
            faults.append((int(place[0]) - since, int(place[1]), name, numbers[place]))
    if faults:
        row, index, name, number = min(faults)
        at = f"in row {row}" if row >= 0 else "when the rollout began"
        fault = InvalidStepError(f"environment {index} gave {name} that is not finite in float32 ({number}), {at}")
        fault.row = row
        raise fault
