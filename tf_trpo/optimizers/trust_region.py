"""Trust Region Policy Optimization: lines 7 to 9 of Algorithm 1."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import keras
import tensorflow as tf

from tf_trpo.estimation import Batch, surrogate_advantage, surrogate_improvement, weighted_mean
from tf_trpo.models import Policy
from tf_trpo.numerics import (
    ConjugateGradientResult,
    LineSearchResult,
    LineSearchStatus,
    backtracking_line_search,
    conjugate_gradient,
    double_backprop_fisher_vector_product,
    flatten,
    gauss_newton_fisher_vector_product,
    step_length_for_kl,
    unflatten,
)

FisherVectorProduct = Literal["gauss-newton", "double-backprop"]
_PRODUCTS = {
    "gauss-newton": gauss_newton_fisher_vector_product,
    "double-backprop": double_backprop_fisher_vector_product,
}


class Outcome(NamedTuple):
    """What a policy step did; every attribute is a scalar tensor.

    Attributes:
      accepted: bool, the parameters changed.
      line_search_status: int32, a `LineSearchStatus`: accepted, or why the last candidate was refused.
      backtracks: int32, j: the candidate was ratio^j times the full step.
      surrogate: L(new), the mean importance-sampled advantage after the step.
      predicted_improvement: g's of the step taken, the linear model's gain; 0 if refused.
      actual_improvement: L(new) - L(old); 0 if refused.
      improvement_ratio: actual / predicted improvement; 0 if refused.
      kl: mean joint KL(old || new) over valid samples, in nats; 0 if refused.
      candidate_kl: KL of the candidate tried last: that of the step if accepted, else what was refused.
      candidate_improvement: L(candidate) - L(old), likewise.
      max_kl_over_states: the largest KL(old || new) of a valid sample.
      entropy: mean entropy of the new policy, in nats.
      gradient_norm: |g|, Euclidean, of the surrogate's gradient.
      step_norm: |theta_new - theta_old|, Euclidean.
      cg_status: int32, a `ConjugateGradientStatus`.
      cg_iterations: int32.
      cg_residual: |g - (F + damping I) x| / |g|.
    """

    accepted: tf.Tensor
    line_search_status: tf.Tensor
    backtracks: tf.Tensor
    surrogate: tf.Tensor
    predicted_improvement: tf.Tensor
    actual_improvement: tf.Tensor
    improvement_ratio: tf.Tensor
    kl: tf.Tensor
    candidate_kl: tf.Tensor
    candidate_improvement: tf.Tensor
    max_kl_over_states: tf.Tensor
    entropy: tf.Tensor
    gradient_norm: tf.Tensor
    step_norm: tf.Tensor
    cg_status: tf.Tensor
    cg_iterations: tf.Tensor
    cg_residual: tf.Tensor


@keras.saving.register_keras_serializable(package="tf_trpo")
class TrustRegion:
    """Maximise the surrogate advantage subject to mean KL(old || new) <= max_kl.

    The direction is x ~ (F + damping I)^-1 g by conjugate gradient; its length makes the quadratic
    model of the KL, 1/2 x'Fx without damping, equal max_kl; the line search takes the first of
    ratio^j times that step that improves the surrogate and keeps the KL within max_kl. If there is
    none, the parameters stay as they are.

    The KL is the joint one over all action dimensions. An implementation that averages it over the d
    dimensions (sb3-contrib) has, at the same number, a trust region d times as large.

    Args:
      max_kl: delta, in nats, > 0.
      cg_iterations: at most this many Fisher-vector products for the direction, >= 1.
      cg_damping: lambda >= 0, added to F's diagonal in the linear system only.
      cg_tolerance: relative residual at which conjugate gradient stops, >= 0.
      backtrack_ratio: alpha of Algorithm 1, in (0, 1).
      max_backtracks: K of Algorithm 1, >= 0.
      fisher_vector_product: "gauss-newton", or "double-backprop", its slower twin.

    Raises:
      ValueError: a setting outside its range.

    Source:
      Schulman et al. (2015), appendix C; lecture, Algorithm 1.
    """

    def __init__(
        self,
        max_kl: float = 0.01,
        *,
        cg_iterations: int = 15,
        cg_damping: float = 0.1,
        cg_tolerance: float = 1e-6,
        backtrack_ratio: float = 0.8,
        max_backtracks: int = 10,
        fisher_vector_product: FisherVectorProduct = "gauss-newton",
    ) -> None:
        _require(max_kl > 0, "max_kl", "positive", max_kl)
        _require(cg_iterations >= 1, "cg_iterations", "at least 1", cg_iterations)
        _require(cg_damping >= 0, "cg_damping", "zero or positive", cg_damping)
        _require(cg_tolerance >= 0, "cg_tolerance", "zero or positive", cg_tolerance)
        _require(0 < backtrack_ratio < 1, "backtrack_ratio", "between 0 and 1", backtrack_ratio)
        _require(max_backtracks >= 0, "max_backtracks", "zero or positive", max_backtracks)
        _require(
            fisher_vector_product in _PRODUCTS,
            "fisher_vector_product",
            f"one of {list(_PRODUCTS)}",
            fisher_vector_product,
        )
        self.max_kl = max_kl
        self.cg_iterations = cg_iterations
        self.cg_damping = cg_damping
        self.cg_tolerance = cg_tolerance
        self.backtrack_ratio = backtrack_ratio
        self.max_backtracks = max_backtracks
        self.fisher_vector_product = fisher_vector_product

    def step(self, policy: Policy, batch: Batch) -> Outcome:
        """Move the policy's trainable weights, or leave them bit for bit.

        Args:
          policy: assigned the new weights.
          batch: samples of the policy as it is.

        Returns:
          The `Outcome`.
        """
        old = [variable.value for variable in policy.trainable_variables]
        theta = flatten(old)
        objective = _Objective(policy, batch, theta)
        gradient = objective.gradient(theta)
        product = _PRODUCTS[self.fisher_vector_product](objective.parameters, policy.divergence, theta, batch.weights)
        solution = conjugate_gradient(
            lambda vector: product(vector) + self.cg_damping * vector,
            gradient,
            max_iterations=self.cg_iterations,
            tolerance=self.cg_tolerance,
        )
        direction = solution.solution
        step = step_length_for_kl(direction, product(direction), self.max_kl) * direction
        search = backtracking_line_search(
            objective.improvement_and_kl,
            theta,
            step,
            max_kl=self.max_kl,
            ratio=self.backtrack_ratio,
            max_backtracks=self.max_backtracks,
        )
        for variable, value in zip(policy.trainable_variables, unflatten(search.theta, old), strict=True):
            variable.assign(value)
        return _outcome(objective, theta, gradient, solution, search)

    def get_config(self) -> dict[str, Any]:
        return {
            "max_kl": self.max_kl,
            "cg_iterations": self.cg_iterations,
            "cg_damping": self.cg_damping,
            "cg_tolerance": self.cg_tolerance,
            "backtrack_ratio": self.backtrack_ratio,
            "max_backtracks": self.max_backtracks,
            "fisher_vector_product": self.fisher_vector_product,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> TrustRegion:
        return cls(**config)


class _Objective:
    """The surrogate and the KL as functions of the flat parameters.

    The network runs in its own precision; what follows it, in float64: a KL near 0 is a difference of
    nearly equal numbers, and the limit on it is exact.
    """

    def __init__(self, policy: Policy, batch: Batch, theta: tf.Tensor) -> None:
        self._policy = policy
        self._batch = batch
        self._weights = tf.cast(batch.weights, tf.float64)
        self._old = tf.stop_gradient(_float64(self.parameters(theta)))
        self._old_log_prob = self._log_prob(self._old)

    def parameters(self, theta: tf.Tensor) -> tf.Tensor:
        return self._policy.parameters_at(theta, self._batch.observations)

    def gradient(self, theta: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(theta)
            improvement = self._improvement(_float64(self.parameters(theta)))
        return tape.gradient(improvement, theta, unconnected_gradients=tf.UnconnectedGradients.ZERO)

    def improvement_and_kl(self, theta: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        new = _float64(self.parameters(theta))
        return self._improvement(new), weighted_mean(self._policy.divergence(self._old, new), self._weights)

    def report(self, theta: tf.Tensor) -> dict[str, tf.Tensor]:
        """Figures of the parameters that were kept."""
        new = _float64(self.parameters(theta))
        kl = tf.where(self._weights > 0, self._policy.divergence(self._old, new), 0.0)
        return {
            "surrogate": surrogate_advantage(self._log_prob(new), self._old_log_prob, self._advantages, self._weights),
            "max_kl_over_states": tf.reduce_max(kl),
            "entropy": weighted_mean(self._policy.entropy(new), self._weights),
        }

    @property
    def _advantages(self) -> tf.Tensor:
        return tf.cast(self._batch.advantages, tf.float64)

    def _improvement(self, parameters: tf.Tensor) -> tf.Tensor:
        return surrogate_improvement(self._log_prob(parameters), self._old_log_prob, self._advantages, self._weights)

    def _log_prob(self, parameters: tf.Tensor) -> tf.Tensor:
        return self._policy.distribution(parameters).log_prob(_float64(self._batch.actions))


def _float64(tensor: tf.Tensor) -> tf.Tensor:
    return tf.cast(tensor, tf.float64) if tensor.dtype.is_floating else tensor


def _outcome(
    objective: _Objective,
    theta: tf.Tensor,
    gradient: tf.Tensor,
    solution: ConjugateGradientResult,
    search: LineSearchResult,
) -> Outcome:
    accepted = tf.equal(search.status, LineSearchStatus.ACCEPTED)
    step = search.theta - theta
    # A step refused for a gradient that is not finite predicts nothing, and NaN times zero would.
    predicted = tf.where(accepted, _float64(tf.reduce_sum(gradient * step)), 0.0)
    actual = tf.where(accepted, search.improvement, 0.0)
    gradient_norm = tf.norm(gradient)
    return Outcome(
        accepted=accepted,
        line_search_status=search.status,
        backtracks=search.backtracks,
        predicted_improvement=predicted,
        actual_improvement=actual,
        improvement_ratio=tf.math.divide_no_nan(actual, predicted),
        kl=tf.where(accepted, search.kl, 0.0),
        candidate_kl=search.kl,
        candidate_improvement=search.improvement,
        gradient_norm=gradient_norm,
        step_norm=tf.norm(step),
        cg_status=solution.status,
        cg_iterations=solution.iterations,
        cg_residual=tf.math.divide_no_nan(solution.residual_norm, gradient_norm),
        **objective.report(search.theta),
    )


def _require(condition: bool, name: str, requirement: str, value: object) -> None:
    if not condition:
        raise ValueError(f"{name} must be {requirement}, got {value!r}")
