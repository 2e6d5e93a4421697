"""Branches of a rollout: in the same state of an environment, several actions are tried, and the policy continues."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from gymnasium.vector import VectorEnv
from gymnasium.vector.utils import iterate

from tf_trpo.environments import InvalidStepError
from tf_trpo.environments.costs import COSTS
from tf_trpo.environments.infos import kept_costs
from tf_trpo.environments.restoring import Restorable, check_restorable
from tf_trpo.environments.sync import BareSyncVectorEnv, write_row
from tf_trpo.environments.vector import without_own_wrappers
from tf_trpo.rollouts.actor import Actor
from tf_trpo.rollouts.vine import BranchNoise, Vine
from tf_trpo.spaces import Spec, flatten_to, is_finite, map_parts, mask_of


class Branches(NamedTuple):
    """K branches of at most L steps from each of S rows of a rollout of B environments.

    Attributes:
      rows: rows of the rollout at whose observations the branches begin, int32 [S].
      actions: the sampled first actions [S, B, K, ...]; empty if branch k begins with action k of a discrete space.
      rewards: the environment's own rewards, float64 [S, B, K, L]; 0 after the last step of the branch.
      steps: number of steps taken, int32 [S, B, K]; 0 if the row is not a step of an episode, or a mask forbids the
        action.
      terminated: whether the last step ended the episode in a terminal state, bool [S, B, K].
      observations: the observations after the last steps, a nest of arrays [S, B, K, ...].
      costs: C costs of each step, float64 [S, B, K, L, C]; an empty tuple without costs.
    """

    rows: np.ndarray
    actions: np.ndarray | tuple[()]
    rewards: np.ndarray
    steps: np.ndarray
    terminated: np.ndarray
    observations: Any
    costs: np.ndarray | tuple[()] = ()


def check_branching(environments: VectorEnv) -> None:
    """Check that the states of environments can be restored. The present states are not changed.

    Raises:
      ValueError: the environments are not of the backend "sync", or a state cannot be restored.
      EnvironmentFailedError: an environment failed.
    """
    # One check is enough: all environments are made in the same way.
    check_restorable(_own(environments).envs[0])


def _own(environments: VectorEnv) -> BareSyncVectorEnv:
    own = without_own_wrappers(environments)
    if not isinstance(own, BareSyncVectorEnv):
        raise ValueError("vine_states must be 0 without the backend sync, whose environments can be set back")
    return own


class Brancher:
    """Takes branches in environments, and restores the environments' states after each branch.

    Args:
      environments: B environments that have passed `check_branching`.
      actor: a policy without a memory, for B environments.
      spec: spec of one observation.
      vine: number and length of branches.

    Raises:
      ValueError: the environments are not of the backend "sync".
    """

    def __init__(self, environments: VectorEnv, actor: Actor, spec: Spec, vine: Vine) -> None:
        own = _own(environments)
        self._envs = own.envs
        self._restorable = [Restorable(env) for env in own.envs]
        self._action_space = own.action_space
        self._actor, self._spec, self._vine = actor, spec, vine
        self._num_costs = len(kept_costs(environments))

    def begin(self, noise: BranchNoise) -> Callable[[int, Any, np.ndarray], None]:
        """Begin the branches of a new rollout; afterwards, `branches` returns them.

        Args:
          noise: noise of the branches.

        Returns:
          A function to call before each row of the rollout. Its arguments are the row, the observations [B, ...], and
          whether an episode ended with the step before, bool [B]. In the rows of `noise`, it takes the branches. It
          raises InvalidStepError if a number is not finite in float32, and EnvironmentFailedError if an environment
          fails.
        """
        self._noise = noise
        self._places = {row: place for place, row in enumerate(noise.rows.tolist())}
        shape = (self._vine.states, len(self._envs), self._vine.actions)
        rewards = np.zeros((*shape, self._vine.steps))
        self._costs = np.zeros((*rewards.shape, self._num_costs))
        last = map_parts(lambda part: np.zeros((*shape, *part.shape), part.dtype), self._spec)
        self._taken = Branches(noise.rows, (), rewards, np.zeros(shape, np.int32), np.zeros(shape, bool), last)
        self._first: list[np.ndarray] = []
        return self._grow

    def branches(self) -> Branches:
        """Return the branches of the rollout."""
        taken = self._taken._replace(costs=self._costs) if self._num_costs else self._taken
        if self._vine.tries_all:
            return taken
        first = np.array(self._first)
        return taken._replace(actions=np.moveaxis(first.reshape(self._vine.states, -1, *first.shape[1:]), 1, 2))

    def _grow(self, row: int, observations: Any, ended: np.ndarray) -> None:
        place = self._places.get(row)
        if place is None:
            return
        for index in np.flatnonzero(~ended).tolist():
            self._restorable[index].save()
        mask = mask_of(self._spec, observations) if self._vine.tries_all else None
        for k in range(self._vine.actions):
            # A mask that forbids all actions is ignored.
            tried = ~ended if mask is None else ~ended & ((mask[:, k] != 0) | ~mask.any(axis=1))
            self._branch(place, k, observations, tried.copy())
            for index in np.flatnonzero(tried).tolist():
                self._restorable[index].restore()

    def _branch(self, place: int, k: int, observations: Any, running: np.ndarray) -> None:
        """Take branch k of a state in the running environments, bool [B]."""
        taken, at = self._taken, map_parts(lambda _, array: array.copy(), self._spec, observations)
        sampled, given = self._first_actions(place, k, observations)
        if not self._vine.tries_all:
            self._first.append(sampled)
        later = self._noise.later[place]
        for step in range(self._vine.steps):
            if step:
                given = self._actor(at, later[min(k, len(later) - 1), step - 1]).environment
            rows = given if isinstance(given, np.ndarray) else list(iterate(self._action_space, given))
            for index in np.flatnonzero(running).tolist():
                observation, reward, terminated, truncated, info = self._envs[index].step(rows[index])
                write_row(at, index, observation)
                taken.rewards[place, index, k, step] = reward
                taken.steps[place, index, k] += 1
                if self._num_costs:
                    self._costs[place, index, k, step] = info[COSTS]
                taken.terminated[place, index, k] = terminated
                running[index] = not (terminated or truncated)
            self._check_finite(at, taken.rewards[place, :, k, step], self._costs[place, :, k, step])
            if not running.any():
                break
        for kept, array in zip(flatten_to(self._spec, taken.observations), flatten_to(self._spec, at), strict=True):
            kept[place, :, k] = array

    def _first_actions(self, place: int, k: int, observations: Any) -> tuple[np.ndarray, Any]:
        """Return the first actions of all environments, as sampled and as the environments take them."""
        if self._vine.tries_all:
            sampled = np.full(len(self._envs), k, np.int32)
            return sampled, self._actor.for_environment(sampled)
        actions = self._actor(observations, self._noise.first[place, k])
        return actions.sampled, actions.environment

    def _check_finite(self, observations: Any, *numbers: np.ndarray) -> None:
        floats = [array for array in flatten_to(self._spec, observations) if array.dtype.kind == "f"]
        for array in (*floats, *numbers):
            fine = is_finite(array)
            if not fine.all():
                index = int(np.argwhere(~fine)[0][0])
                raise InvalidStepError(f"environment {index} gave a number that is not finite in float32, in a branch")
