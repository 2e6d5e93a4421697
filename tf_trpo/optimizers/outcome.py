"""What a policy step did."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf


class Outcome(NamedTuple):
    """What a policy step did; every attribute is a scalar tensor.

    An algorithm without line search reports 0 backtracks and the status NOT_USED if it took its step, and
    as candidate that step; one without conjugate gradient the status NOT_USED, 0 iterations and residual
    0. All other figures are real, measured on the batch at the new parameters.

    Attributes:
      accepted: bool, the parameters changed.
      line_search_status: int32, a `LineSearchStatus`: accepted, not used, or why the last candidate was refused.
      backtracks: int32, j: the candidate was ratio^j times the full step.
      surrogate: L(new), the mean importance-sampled advantage after the step.
      predicted_improvement: g's of the step taken, the linear model's gain; 0 if refused.
      actual_improvement: L(new) - L(old); 0 if refused.
      improvement_ratio: actual / predicted improvement; 0 if refused.
      kl: mean joint KL(old || new) over valid samples, in nats; 0 if refused.
      candidate_kl: KL of the candidate tried last: that of the step if accepted, else what was refused;
        the largest of a valid sample where the limit is on that.
      candidate_improvement: L(candidate) - L(old), likewise.
      max_kl_over_states: the largest KL(old || new) of a valid sample.
      entropy: mean entropy of the new policy, in nats.
      gradient_norm: |g|, Euclidean, of the surrogate's gradient.
      step_norm: |theta_new - theta_old|, Euclidean.
      cg_status: int32, a `ConjugateGradientStatus`.
      cg_iterations: int32.
      cg_residual: |g - (F + damping I) x| / |g|.
      trust_region_radius: float64, the limit on the KL of this step, in nats; 0 where there is none.
      penalty_coefficient: float64, what the KL counted against the surrogate in this step; 0 where it
        did not.
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
    trust_region_radius: tf.Tensor
    penalty_coefficient: tf.Tensor
