"""Finite Markov decision processes, and the exact evaluation of a policy by linear solves.

Source: Schulman et al. (2015), section 2; lecture, "Discounted visitation frequency".
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tf_trpo.theory.information import require_distributions


@dataclasses.dataclass(frozen=True, eq=False)
class PolicyEvaluation:
    """A policy and its exact discounted quantities in one MDP.

    Attributes:
      policy: pi(a|s), [S, A].
      gamma: discount of the MDP.
      visitation_frequencies: rho(s) = sum_t gamma^t P(s_t = s), not normalised, [S]; the sum is 1 / (1 - gamma).
      values: V(s), [S].
      action_values: Q(s, a), [S, A].
      advantages: A(s, a) = Q(s, a) - V(s), [S, A].
      expected_return: eta = E[sum_t gamma^t r_t].
    """

    policy: NDArray[np.float64]
    gamma: float
    visitation_frequencies: NDArray[np.float64]
    values: NDArray[np.float64]
    action_values: NDArray[np.float64]
    advantages: NDArray[np.float64]
    expected_return: float


@dataclasses.dataclass(frozen=True, eq=False)
class FiniteMDP:
    """A Markov decision process with finite states and actions and an infinite discounted horizon.

    A terminal state is one that always leads to itself with reward 0.

    Attributes:
      transitions: P(s'|s, a), [S, A, S]; each row sums to 1.
      rewards: r(s, a), the expected reward, [S, A].
      initial: P(s_0 = s), [S]; the sum is 1.
      gamma: discount, in [0, 1).

    Raises:
      ValueError: shapes do not fit, numbers are not finite or not probabilities, or gamma is outside [0, 1).
    """

    transitions: NDArray[np.float64]
    rewards: NDArray[np.float64]
    initial: NDArray[np.float64]
    gamma: float

    def __post_init__(self) -> None:
        rewards = np.array(self.rewards, dtype=np.float64)
        if rewards.ndim != 2 or rewards.size == 0 or not np.isfinite(rewards).all():
            raise ValueError(f"rewards must be [S, A] and finite, got shape {rewards.shape}")
        transitions = require_distributions("transitions", self.transitions, (*rewards.shape, len(rewards)))
        initial = require_distributions("initial", self.initial, rewards.shape[:1])
        if not 0 <= self.gamma < 1:
            raise ValueError(f"gamma must lie in [0, 1), got {self.gamma}")
        for name, copy in {"transitions": transitions, "rewards": rewards, "initial": initial}.items():
            # Read-only, since an evaluation would become wrong if an array of its MDP changed.
            copy.setflags(write=False)
            object.__setattr__(self, name, copy)

    @property
    def num_states(self) -> int:
        """Number of states S."""
        return self.rewards.shape[0]

    @property
    def num_actions(self) -> int:
        """Number of actions A."""
        return self.rewards.shape[1]

    def evaluate(self, policy: ArrayLike) -> PolicyEvaluation:
        """Compute visitation frequencies, values, advantages and expected return of a policy, in closed form.

        V = (I - gamma P_pi)^-1 r_pi and rho = (I - gamma P_pi')^-1 rho_0. I - gamma P_pi is strictly diagonally
        dominant, so both systems have exactly one solution, even if the policy never visits some states.

        Args:
          policy: pi(a|s), [S, A]; it may be deterministic.

        Raises:
          ValueError: policy is not [S, A], or not a distribution in each state.
        """
        policy = require_distributions("policy", policy, self.rewards.shape)
        system = np.eye(self.num_states) - self.gamma * np.einsum("sa,sat->st", policy, self.transitions)
        values = np.asarray(np.linalg.solve(system, np.sum(policy * self.rewards, axis=1)), np.float64)
        action_values = self.rewards + self.gamma * self.transitions @ values
        return PolicyEvaluation(
            policy=policy,
            gamma=self.gamma,
            visitation_frequencies=np.asarray(np.linalg.solve(system.T, self.initial), np.float64),
            values=values,
            action_values=action_values,
            advantages=action_values - values[:, None],
            expected_return=float(self.initial @ values),
        )


def random_mdp(num_states: int, num_actions: int, gamma: float, rng: np.random.Generator) -> FiniteMDP:
    """Draw an MDP: transitions and initial distribution uniform on their simplices, rewards standard normal."""
    return FiniteMDP(
        transitions=rng.dirichlet(np.ones(num_states), size=(num_states, num_actions)),
        rewards=rng.normal(size=(num_states, num_actions)),
        initial=rng.dirichlet(np.ones(num_states)),
        gamma=gamma,
    )


def random_policy(num_states: int, num_actions: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw a policy pi(a|s), [S, A], uniform on the simplex in each state."""
    return rng.dirichlet(np.ones(num_actions), size=num_states)
