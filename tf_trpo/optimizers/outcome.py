"""The record of a policy step."""

from __future__ import annotations

from typing import NamedTuple

from tf_trpo.lazy import tensorflow as tf


class Outcome(NamedTuple):
    """Record of a policy step: tensors, scalar or [C] for C costs; None for figures that the algorithm lacks.

    Which figures are None depends on the algorithm and the policy only, never on the batch. All other figures are
    measured on the batch at the new parameters. The candidate is the last step that was tried; without a line search,
    it is the only one.

    Attributes:
      accepted: bool, whether the step was taken.
      line_search_status: int32, a `LineSearchStatus`: accepted, not used, or why the candidate was refused.
      surrogate: float64, L(new), the mean importance-sampled advantage after the step.
      predicted_improvement: float64, the product of g and the step s: the improvement by a linear model; 0 if refused.
      actual_improvement: float64, L(new) - L(old); 0 if refused.
      improvement_ratio: float64, actual / predicted improvement; 0 if refused.
      kl: float64, mean joint KL(old || new) over valid samples, in nats; 0 if refused.
      candidate_kl: float64, KL(old || candidate), in nats: the largest over valid samples if the algorithm limits it,
        otherwise the mean.
      candidate_improvement: float64, L(candidate) - L(old) plus the bonuses, if any; negative for some accepted steps
        that had to restore a limit. For a refused step, it is what the line search judged: with multipliers, the
        improvement computed from the mixed advantages; if the step had to restore a limit, by how much the figure above
        that limit fell.
      max_kl_over_states: float64, the largest KL(old || new) over valid samples, in nats.
      gradient_norm: float64, |g|, Euclidean norm of the surrogate's gradient.
      step_norm: float64, |theta_new - theta_old|, Euclidean.
      entropy: float64, mean entropy of the new policy, in nats; None if the policy has no closed form of it.
      backtracks: int32, j: the candidate is ratio^j times the full step; None without a line search.
      cg_status: int32, a `ConjugateGradientStatus`; like the next two figures, None without conjugate gradient.
      cg_iterations: int32, products with the Fisher matrix.
      cg_residual: float64, |g - (F + damping I) x| / |g|, where g includes the gradients of bonuses.
      trust_region_radius: float64, the limit on the KL of this step, in nats; None if nothing limits the KL.
      penalty_coefficient: float64, C of L - C KL in this step; None without a penalty.
      entropy_bonus: float64, by how much the entropy bonus rose; 0 if refused, None without the bonus.
      demonstration_bonus: float64, by how much the demonstration bonus rose; 0 if refused, None without the bonus.
      restores: bool, whether a figure was above its limit and the step had to reduce it; None without constraints.
      anchor_kl: float64, mean KL(anchor || new), in nats; None without an anchor.
      cost_changes: float64 [C], the change of each cost per environment step, estimated by its surrogate; None if
        the step limits no costs.
      cost_margins: float64 [C], the share by which the step lowered each limit on a cost; None without margins.
      multipliers: float64 [C], weight of each cost's advantages relative to those of the rewards; None without
        multipliers.
    """

    accepted: tf.Tensor
    line_search_status: tf.Tensor
    surrogate: tf.Tensor
    predicted_improvement: tf.Tensor
    actual_improvement: tf.Tensor
    improvement_ratio: tf.Tensor
    kl: tf.Tensor
    candidate_kl: tf.Tensor
    candidate_improvement: tf.Tensor
    max_kl_over_states: tf.Tensor
    gradient_norm: tf.Tensor
    step_norm: tf.Tensor
    entropy: tf.Tensor | None = None
    backtracks: tf.Tensor | None = None
    cg_status: tf.Tensor | None = None
    cg_iterations: tf.Tensor | None = None
    cg_residual: tf.Tensor | None = None
    trust_region_radius: tf.Tensor | None = None
    penalty_coefficient: tf.Tensor | None = None
    entropy_bonus: tf.Tensor | None = None
    demonstration_bonus: tf.Tensor | None = None
    restores: tf.Tensor | None = None
    anchor_kl: tf.Tensor | None = None
    cost_changes: tf.Tensor | None = None
    cost_margins: tf.Tensor | None = None
    multipliers: tf.Tensor | None = None
