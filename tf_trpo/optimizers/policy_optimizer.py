"""What every policy optimizer is: a step from (policy, batch) to new weights and an `Outcome`."""

from __future__ import annotations

import abc
from typing import Any, NamedTuple

import tensorflow as tf

from tf_trpo.estimation import Batch
from tf_trpo.models import Policy
from tf_trpo.numerics import (
    ConjugateGradientResult,
    ConjugateGradientStatus,
    LineSearchResult,
    LineSearchStatus,
)
from tf_trpo.optimizers.objective import Objective
from tf_trpo.optimizers.outcome import Outcome


class Proposal(NamedTuple):
    """New parameters, and how they were found.

    Attributes:
      gradient: g [P], of the surrogate at the old parameters.
      search: where it ended; `search.figures` are the mean KL, the largest KL of a state and the entropy,
        of the policy at `search.theta`.
      solution: of the linear system, if there was one.
      radius: the limit on the KL, float64 or a number; 0 if there was none.
      penalty_coefficient: what the KL counted against the surrogate, likewise.
    """

    gradient: tf.Tensor
    search: LineSearchResult
    solution: ConjugateGradientResult | None = None
    radius: tf.Tensor | float = 0.0
    penalty_coefficient: tf.Tensor | float = 0.0


class PolicyOptimizer(abc.ABC):
    """Turns a policy and samples of it into new weights.

    A subclass says by `propose` which; `step` assigns them and makes the record. One with a state of its
    own, such as the moments of Adam, makes its variables in `make_state` and lists them in `variables`: the
    agent saves and restores them with its weights.
    """

    _built_for: Policy | None = None

    def build(self, policy: Policy) -> None:
        """Make the state, if there is any; does nothing the second time.

        Args:
          policy: the policy that will be stepped.

        Raises:
          ValueError: the state is that of another policy.
        """
        if self._built_for is policy:
            return
        if self._built_for is not None and self.variables:
            raise ValueError(f"this {type(self).__name__} has the state of another policy: make one for each")
        self.make_state(policy)
        self._built_for = policy

    def make_state(self, policy: Policy) -> None:  # noqa: B027  not every optimizer has a state
        """Make the variables of the state for a policy; by default there are none."""

    @property
    def variables(self) -> list[Any]:
        """The state: TensorFlow or Keras variables, in an order that does not change; by default none."""
        return []

    def step(self, policy: Policy, batch: Batch, *, chunk_size: int | None = None) -> Outcome:
        """Move the policy's trainable weights, or leave them bit for bit.

        Args:
          policy: assigned the new weights.
          batch: samples of the policy as it is.
          chunk_size: samples to have in memory at once, >= 1; None for all. The result is the same up
            to rounding.

        Returns:
          The `Outcome`.
        """
        objective = Objective(policy, batch, policy.flat_weights, chunk_size)
        proposal = self.propose(objective)
        proposal = proposal._replace(search=_finite(proposal.search, objective))
        policy.assign_flat_weights(proposal.search.theta)
        return _outcome(objective, proposal)

    @abc.abstractmethod
    def propose(self, objective: Objective) -> Proposal:
        """Find new parameters.

        Args:
          objective: the surrogate and the KL on the samples, at and near the old parameters.

        Returns:
          The `Proposal`; its parameters are the old ones, bit for bit, if the step is refused.
        """

    @abc.abstractmethod
    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, for JSON."""

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> PolicyOptimizer:
        """The inverse of `get_config`."""
        return cls(**config)


def without_line_search(objective: Objective, candidate: tf.Tensor) -> LineSearchResult:
    """Take the candidate, unless that would break the policy.

    Args:
      objective: at the old parameters.
      candidate: new parameters [P].

    Returns:
      A `LineSearchResult` with the candidate and the status NOT_USED; with the old parameters and
      NO_DIRECTION where the candidate is where the policy already was, or NOT_FINITE where it, its
      surrogate or its KL is not finite.
    """
    figures = objective.figures(candidate)
    finite = tf.reduce_all(tf.math.is_finite(candidate))
    finite &= tf.math.is_finite(figures.improvement) & tf.math.is_finite(figures.kl)
    moved = tf.reduce_any(tf.not_equal(candidate, objective.theta))
    taken = finite & moved
    status = tf.where(
        moved,
        tf.where(finite, int(LineSearchStatus.NOT_USED), int(LineSearchStatus.NOT_FINITE)),
        int(LineSearchStatus.NO_DIRECTION),
    )
    kept = tuple(tf.where(taken, new, old) for new, old in zip(figures, objective.old_figures(), strict=True))
    theta = tf.where(taken, candidate, objective.theta)
    return LineSearchResult(theta, status, tf.constant(0), figures.improvement, figures.kl, kept[1:])


def was_taken(search: LineSearchResult) -> tf.Tensor:
    """Whether the search ended at new parameters; bool scalar."""
    taken = (LineSearchStatus.ACCEPTED, LineSearchStatus.NOT_USED)
    return tf.reduce_any(tf.equal(search.status, [int(status) for status in taken]))


def _finite(search: LineSearchResult, objective: Objective) -> LineSearchResult:
    """The search, with the old parameters where those that it ended at are not finite: no weight ever is."""
    sound = tf.reduce_all(tf.math.is_finite(search.theta))
    kept = tuple(
        tf.where(sound, new, old) for new, old in zip(search.figures, objective.old_figures()[1:], strict=True)
    )
    return search._replace(
        theta=tf.where(sound, search.theta, objective.theta),
        status=tf.where(sound, search.status, int(LineSearchStatus.NOT_FINITE)),
        figures=kept,
    )


def require(condition: bool, name: str, requirement: str, value: object) -> None:
    """Raise the ValueError of a setting outside its range, unless the condition holds."""
    if not condition:
        raise ValueError(f"{name} must be {requirement}, got {value!r}")


def _outcome(objective: Objective, proposal: Proposal) -> Outcome:
    gradient, search, solution = proposal[:3]
    accepted = was_taken(search)
    step = search.theta - objective.theta
    # A step refused for a gradient that is not finite predicts nothing, and NaN times zero would.
    predicted = tf.where(accepted, tf.cast(tf.reduce_sum(gradient * step), tf.float64), 0.0)
    actual = tf.where(accepted, search.improvement, 0.0)
    gradient_norm = tf.norm(gradient)
    kl, max_kl_over_states, entropy = search.figures
    if solution is None:
        unused = tf.constant(int(ConjugateGradientStatus.NOT_USED))
        solution = ConjugateGradientResult(step, tf.constant(0), tf.zeros_like(gradient_norm), unused)
    return Outcome(
        accepted=accepted,
        line_search_status=search.status,
        backtracks=search.backtracks,
        surrogate=objective.old_surrogate + actual,
        predicted_improvement=predicted,
        actual_improvement=actual,
        improvement_ratio=tf.math.divide_no_nan(actual, predicted),
        kl=kl,
        candidate_kl=search.kl,
        candidate_improvement=search.improvement,
        max_kl_over_states=max_kl_over_states,
        entropy=entropy,
        gradient_norm=gradient_norm,
        step_norm=tf.norm(step),
        cg_status=solution.status,
        cg_iterations=solution.iterations,
        cg_residual=tf.math.divide_no_nan(solution.residual_norm, gradient_norm),
        trust_region_radius=tf.convert_to_tensor(proposal.radius, tf.float64),
        penalty_coefficient=tf.convert_to_tensor(proposal.penalty_coefficient, tf.float64),
    )
