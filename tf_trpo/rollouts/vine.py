"""Settings of the branches of rollouts, their first rows and their noise: the "vine" scheme of TRPO's authors."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np

from tf_trpo.ranges import require, require_allowed

MOST_ACTIONS = 18
"""Largest number of actions of a discrete space of which each is tried by default; Atari games have up to 18."""
_ACTIONS = 4
_STEPS = 8
_MOST_BRANCH_STEPS = 50_000_000


@dataclasses.dataclass(frozen=True)
class VineSettings:
    """Estimate the policy's advantages from branches of the rollouts, instead of from single paths.

    In some states of a rollout, several actions are tried. After each action, the policy continues for some steps. All
    branches of a state use the same random numbers. Steps of branches count as environment steps.

    Raises:
      ValueError: a setting is outside its range, or has no effect without branches.

    Source:
      Schulman et al. (2015), section 5.2.
    """

    vine_states: int = 0
    """Number of states in which branches begin, for each environment and rollout, at most num_steps. 0: no branches."""
    vine_actions: int | None = None
    """Number of actions, drawn from the policy, to try in each of the vine_states states, >= 2. None: in a discrete
    space of at most 18 actions, try each action and weight it by its probability; otherwise 4."""
    vine_steps: int | None = None
    """Largest number of steps of a branch, including the first action, >= 1. The value function estimates the return
    after the last step. None: 8."""

    def __post_init__(self) -> None:
        require_allowed(self, vine_states="[0, inf)", vine_actions="[2, inf)", vine_steps="[1, inf)")
        for name in ("vine_actions", "vine_steps"):
            value = getattr(self, name)
            require(bool(self.vine_states) or value is None, name, "None without vine_states", value)

    def check_rollout(self, num_steps: int) -> None:
        """Raise ValueError if vine_states is larger than the number of rows of a rollout."""
        at_most = f"at most the num_steps of a rollout, {num_steps}"
        require(self.vine_states <= num_steps, "vine_states", at_most, self.vine_states)

    def settled(self, num_actions: int | None, num_envs: int) -> Vine:
        """Return the settings of at least one branch with their defaults filled in.

        Args:
          num_actions: number of actions of the policy's discrete space; None for another action space.
          num_envs: number of environments.

        Raises:
          ValueError: the branches of a rollout would have too many steps.
        """
        tries_all = self.vine_actions is None and num_actions is not None and num_actions <= MOST_ACTIONS
        actions = num_actions if tries_all else self.vine_actions
        vine = Vine(self.vine_states, actions or _ACTIONS, self.vine_steps or _STEPS, tries_all)
        steps = vine.most_steps(num_envs)
        product = "vine_states times vine_actions times vine_steps times num_envs"
        require(steps <= _MOST_BRANCH_STEPS, product, f"at most {_MOST_BRANCH_STEPS}", steps)
        return vine


class Vine(NamedTuple):
    """Number and length of the branches of a rollout.

    Attributes:
      states: S, number of rows of the rollout in which all environments branch.
      actions: K, number of branches of a state.
      steps: L, largest number of steps of a branch.
      tries_all: whether the first action of branch k is action k of a discrete space; otherwise it is drawn from the
        policy.
    """

    states: int
    actions: int
    steps: int
    tries_all: bool

    def most_steps(self, num_envs: int) -> int:
        """Return the largest number of environment steps that the branches of a rollout can take."""
        return self.states * self.actions * self.steps * num_envs

    def rows(self, num_steps: int, rng: np.random.Generator) -> np.ndarray:
        """Draw the rows in which branches begin, sorted, int32 [S]: one in each of S equal parts of a rollout."""
        bounds = np.arange(self.states + 1) * num_steps // self.states
        rows: np.ndarray = rng.integers(bounds[:-1], bounds[1:]).astype(np.int32)
        return rows


class BranchNoise(NamedTuple):
    """The rows in which the branches of a rollout begin, and the noise of their actions.

    Attributes:
      rows: the rows, sorted, int32 [S].
      first: noise of the first actions [S, K, B, ...]; not used if all actions are tried.
      later: noise of the later actions [S, 1, L - 1, B, ...], common to all branches of a state; or [S, K, L - 1, B,
        ...] if each branch has noise of its own, for comparisons.
    """

    rows: np.ndarray
    first: np.ndarray
    later: np.ndarray
