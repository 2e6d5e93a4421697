"""Finite Markov decision processes, and what a policy is worth in one: exactly, by linear solves."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tf_trpo.theory.distributions import require_distributions


@dataclasses.dataclass(frozen=True, eq=False)
class PolicyEvaluation:
    """A policy and its exact discounted quantities in one MDP.

    Attributes:
      policy: pi(a|s), [S, A].
      gamma: discount of the MDP.
      visitation_frequencies: rho(s) = sum_t gamma^t P(s_t = s), unnormalised, [S]; their sum is 1 / (1 - gamma).
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
    """Finite states and actions, an infinite discounted horizon. A terminal state is one that never leaves and pays 0.

    Attributes:
      transitions: P(s'|s, a), [S, A, S], rows summing to 1.
      rewards: r(s, a), the expected reward, [S, A].
      initial: P(s_0 = s), [S], summing to 1.
      gamma: discount, in [0, 1).

    Raises:
      ValueError: shapes that do not fit, numbers that are not finite or not probabilities, gamma outside [0, 1).
    """

    transitions: NDArray[np.float64]
    rewards: NDArray[np.float64]
    initial: NDArray[np.float64]
    gamma: float

    def __post_init__(self) -> None:
        for field in ("transitions", "rewards", "initial"):
            array = np.array(getattr(self, field), dtype=np.float64)
            # The copy is read-only: an evaluation of this MDP must not change under its owner's feet.
            array.setflags(write=False)
            object.__setattr__(self, field, array)
        if self.rewards.ndim != 2 or 0 in self.rewards.shape:
            raise ValueError(f"rewards must be [S, A], got shape {self.rewards.shape}")
        states, actions = self.rewards.shape
        if self.transitions.shape != (states, actions, states):
            raise ValueError(f"transitions must be {(states, actions, states)}, got shape {self.transitions.shape}")
        if self.initial.shape != (states,):
            raise ValueError(f"initial must be {(states,)}, got shape {self.initial.shape}")
        if not np.isfinite(self.rewards).all():
            raise ValueError("rewards must be finite")
        require_distributions("transitions", self.transitions)
        require_distributions("initial", self.initial)
        if not 0 <= self.gamma < 1:
            raise ValueError(f"gamma must lie in [0, 1), got {self.gamma}")

    @property
    def num_states(self) -> int:
        """S."""
        return self.rewards.shape[0]

    @property
    def num_actions(self) -> int:
        """A."""
        return self.rewards.shape[1]

    def state_transitions(self, policy: NDArray[np.float64]) -> NDArray[np.float64]:
        """P_pi(s'|s) = sum_a pi(a|s) P(s'|s, a), [S, S]."""
        return np.einsum("sa,sat->st", policy, self.transitions)

    def evaluate(self, policy: ArrayLike) -> PolicyEvaluation:
        """Visitation frequencies, values, advantages and expected return of a policy, in closed form.

        V = (I - gamma P_pi)^-1 r_pi and rho = (I - gamma P_pi')^-1 rho_0. I - gamma P_pi is strictly diagonally
        dominant for gamma < 1, so both systems have one solution whatever the policy does or never visits.

        Args:
          policy: pi(a|s), [S, A], rows summing to 1; it may be deterministic.

        Returns:
          A `PolicyEvaluation`.

        Raises:
          ValueError: policy is not [S, A], or not a distribution in each state.

        Source:
          Schulman et al. (2015), section 2; lecture, "Discounted visitation frequency".
        """
        policy = require_distributions("policy", policy)
        if policy.shape != self.rewards.shape:
            raise ValueError(f"policy must be {self.rewards.shape}, got shape {policy.shape}")
        system = np.eye(self.num_states) - self.gamma * self.state_transitions(policy)
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
    """MDP with transitions and initial distribution uniform on their simplices and standard normal rewards.

    Args:
      num_states: S, >= 1.
      num_actions: A, >= 1.
      gamma: discount, in [0, 1).
      rng: where the randomness comes from.

    Raises:
      ValueError: an argument outside its range.
    """
    if num_states < 1 or num_actions < 1:
        raise ValueError(f"num_states and num_actions must be at least 1, got {num_states} and {num_actions}")
    return FiniteMDP(
        transitions=rng.dirichlet(np.ones(num_states), size=(num_states, num_actions)),
        rewards=rng.normal(size=(num_states, num_actions)),
        initial=rng.dirichlet(np.ones(num_states)),
        gamma=gamma,
    )


def random_policy(num_states: int, num_actions: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Policy pi(a|s), [S, A], uniform on the simplex in each state."""
    return rng.dirichlet(np.ones(num_actions), size=num_states)
