"""Where branches of rollouts begin, and by what random numbers they are taken: the "vine" of TRPO's authors."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np

from tf_trpo.ranges import require, require_allowed

MOST_ACTIONS = 18
"""Actions of a discrete space that are all tried by default; an Atari game has as many."""
_ACTIONS = 4
_STEPS = 8


@dataclasses.dataclass(frozen=True)
class VineSettings:
    """Advantages from branches of the rollouts, instead of from single paths.

    In some states of a rollout, several actions are tried. From each, the policy goes on for some steps, all branches
    of a state by the same random numbers. The steps of branches count as environment steps.

    Raises:
      ValueError: a setting is outside its range, or has no effect without branches.

    Source:
      Schulman et al. (2015), section 5.2.
    """

    vine_states: int = 0
    """States of each environment in a rollout from which branches go out, at most num_steps; 0: none, single paths."""
    vine_actions: int | None = None
    """Actions to try in each of these states, at least 2, drawn from the policy. None: each action of a discrete space
    of at most 18, with its probability as weight, and otherwise 4."""
    vine_steps: int | None = None
    """Steps of a branch at most, the first action among them; the value function says what follows. None: 8."""

    def __post_init__(self) -> None:
        require_allowed(self, vine_states="[0, inf)", vine_actions="[2, inf)", vine_steps="[1, inf)")
        for name in ("vine_actions", "vine_steps"):
            value = getattr(self, name)
            require(bool(self.vine_states) or value is None, name, "None without vine_states", value)

    def check_rollout(self, num_steps: int) -> None:
        """Raise ValueError if there are more branching states than rows in a rollout."""
        at_most = f"at most the num_steps of a rollout, {num_steps}"
        require(self.vine_states <= num_steps, "vine_states", at_most, self.vine_states)

    def settled(self, num_actions: int | None) -> Vine | None:
        """Give the numbers for a policy over a discrete space of so many actions, or over another space (None).

        Without branches, there are none.
        """
        if not self.vine_states:
            return None
        tries_all = self.vine_actions is None and num_actions is not None and num_actions <= MOST_ACTIONS
        actions = num_actions if tries_all else self.vine_actions
        return Vine(self.vine_states, actions or _ACTIONS, self.vine_steps or _STEPS, tries_all)


class Vine(NamedTuple):
    """The numbers of branches in a rollout.

    Attributes:
      states: S, rows of the rollout, in which all environments branch.
      actions: K, branches of a state.
      steps: L, of a branch at most.
      tries_all: whether the first action of branch k is action k of a discrete space; otherwise it is drawn.
    """

    states: int
    actions: int
    steps: int
    tries_all: bool

    def rows(self, num_steps: int, rng: np.random.Generator) -> np.ndarray:
        """Draw the rows where branches begin, int32 [S] in order: one in each of S equal parts of a rollout."""
        bounds = np.arange(self.states + 1) * num_steps // self.states
        rows: np.ndarray = rng.integers(bounds[:-1], bounds[1:]).astype(np.int32)
        return rows


class BranchNoise(NamedTuple):
    """Where the branches of a rollout begin, and the noise of their actions.

    Attributes:
      rows: int32 [S], in order.
      first: [S, K, B, ...], of the first actions; not used if all actions are tried.
      later: [S, 1, L - 1, B, ...], of the actions that follow: common to the branches of a state. To compare with
        branches that have nothing in common, [S, K, L - 1, B, ...].
    """

    rows: np.ndarray
    first: np.ndarray
    later: np.ndarray
