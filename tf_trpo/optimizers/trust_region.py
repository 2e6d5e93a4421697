"""Trust Region Policy Optimization: lines 7 to 9 of Algorithm 1."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tf_trpo.estimation import Batch
from tf_trpo.models import Policy
from tf_trpo.numerics import (
    ConjugateGradientResult,
    LineSearchResult,
    LineSearchStatus,
    backtracking_line_search,
    conjugate_gradient,
    flatten,
    step_length_for_kl,
    unflatten,
)
from tf_trpo.optimizers.objective import FISHER_VECTOR_PRODUCTS, FisherVectorProduct, Objective
from tf_trpo.optimizers.outcome import Outcome


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
      curvature_fraction: share of the samples that the Fisher-vector products are taken on, in (0, 1];
        gradient and line search always use all of them (appendix C of the paper uses 0.1).
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
        curvature_fraction: float = 1.0,
        fisher_vector_product: FisherVectorProduct = "gauss-newton",
    ) -> None:
        _require(max_kl > 0, "max_kl", "positive", max_kl)
        _require(cg_iterations >= 1, "cg_iterations", "at least 1", cg_iterations)
        _require(cg_damping >= 0, "cg_damping", "zero or positive", cg_damping)
        _require(cg_tolerance >= 0, "cg_tolerance", "zero or positive", cg_tolerance)
        _require(0 < backtrack_ratio < 1, "backtrack_ratio", "between 0 and 1", backtrack_ratio)
        _require(max_backtracks >= 0, "max_backtracks", "zero or positive", max_backtracks)
        _require(0 < curvature_fraction <= 1, "curvature_fraction", "in (0, 1]", curvature_fraction)
        _require(
            fisher_vector_product in FISHER_VECTOR_PRODUCTS,
            "fisher_vector_product",
            f"one of {FISHER_VECTOR_PRODUCTS}",
            fisher_vector_product,
        )
        self.max_kl = max_kl
        self.cg_iterations = cg_iterations
        self.cg_damping = cg_damping
        self.cg_tolerance = cg_tolerance
        self.backtrack_ratio = backtrack_ratio
        self.max_backtracks = max_backtracks
        self.curvature_fraction = curvature_fraction
        self.fisher_vector_product = fisher_vector_product

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
        old = [variable.value for variable in policy.trainable_variables]
        theta = flatten(old)
        objective = Objective(policy, batch, theta, chunk_size)
        gradient = objective.gradient()
        product = objective.fisher_vector_product(fraction=self.curvature_fraction, kind=self.fisher_vector_product)
        solution = conjugate_gradient(
            lambda vector: product(vector) + self.cg_damping * vector,
            gradient,
            max_iterations=self.cg_iterations,
            tolerance=self.cg_tolerance,
        )
        direction = solution.solution
        step = step_length_for_kl(direction, product(direction), self.max_kl) * direction
        search = backtracking_line_search(
            objective.figures,
            theta,
            step,
            max_kl=self.max_kl,
            ratio=self.backtrack_ratio,
            max_backtracks=self.max_backtracks,
            figures=objective.old_figures()[2:],
        )
        for variable, value in zip(policy.trainable_variables, unflatten(search.theta, old), strict=True):
            variable.assign(value)
        return _outcome(objective.old_surrogate, theta, gradient, solution, search)

    def get_config(self) -> dict[str, Any]:
        return {
            "max_kl": self.max_kl,
            "cg_iterations": self.cg_iterations,
            "cg_damping": self.cg_damping,
            "cg_tolerance": self.cg_tolerance,
            "backtrack_ratio": self.backtrack_ratio,
            "max_backtracks": self.max_backtracks,
            "curvature_fraction": self.curvature_fraction,
            "fisher_vector_product": self.fisher_vector_product,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> TrustRegion:
        return cls(**config)


def _outcome(
    old_surrogate: tf.Tensor,
    theta: tf.Tensor,
    gradient: tf.Tensor,
    solution: ConjugateGradientResult,
    search: LineSearchResult,
) -> Outcome:
    accepted = tf.equal(search.status, LineSearchStatus.ACCEPTED)
    step = search.theta - theta
    # A step refused for a gradient that is not finite predicts nothing, and NaN times zero would.
    predicted = tf.where(accepted, tf.cast(tf.reduce_sum(gradient * step), tf.float64), 0.0)
    actual = tf.where(accepted, search.improvement, 0.0)
    gradient_norm = tf.norm(gradient)
    max_kl_over_states, entropy = search.figures
    return Outcome(
        accepted=accepted,
        line_search_status=search.status,
        backtracks=search.backtracks,
        surrogate=old_surrogate + actual,
        predicted_improvement=predicted,
        actual_improvement=actual,
        improvement_ratio=tf.math.divide_no_nan(actual, predicted),
        kl=tf.where(accepted, search.kl, 0.0),
        candidate_kl=search.kl,
        candidate_improvement=search.improvement,
        max_kl_over_states=max_kl_over_states,
        entropy=entropy,
        gradient_norm=gradient_norm,
        step_norm=tf.norm(step),
        cg_status=solution.status,
        cg_iterations=solution.iterations,
        cg_residual=tf.math.divide_no_nan(solution.residual_norm, gradient_norm),
    )


def _require(condition: bool, name: str, requirement: str, value: object) -> None:
    if not condition:
        raise ValueError(f"{name} must be {requirement}, got {value!r}")
