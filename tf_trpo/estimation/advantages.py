"""Generalised advantage estimation."""

from __future__ import annotations

from tf_trpo.estimation.moments import weighted_moments
from tf_trpo.lazy import tensorflow as tf
from tf_trpo.numerics import linear_recurrence


def gae(
    rewards: tf.Tensor,
    values: tf.Tensor,
    terminated: tf.Tensor,
    truncated: tf.Tensor,
    valid: tf.Tensor,
    *,
    gamma: float,
    gae_lambda: float,
) -> tf.Tensor:
    """Advantages A_t = sum_l (gamma lambda)^l delta_{t+l}, summed to the end of the episode.

        delta_t = r_t + gamma (1 - terminated_t) V(s_{t+1}) - V(s_t)

    A terminated step has no successor. A truncated one, and the last row, which the rollout cuts off,
    bootstrap the value of their true successor, which is row t + 1 of `values`: with NEXT_STEP
    autoreset that row holds the final observation.

    Args:
      rewards: float [T, B], the reward of the step taken at row t.
      values: float [T + 1, B], V of the observation at each row.
      terminated: float [T, B], 1 where the step ended the episode in a terminal state.
      truncated: float [T, B], 1 where the step was the last one for another reason (a time limit).
      valid: float [T, B], 0 on the rows that are no step of any episode (autoreset).
      gamma: discount, in [0, 1].
      gae_lambda: lambda, in [0, 1]; 0 is the one-step TD error, 1 the Monte Carlo return less V.

    Returns:
      Advantages, float [T, B]; 0 where not valid.

    Source:
      Schulman et al. (2016), equations 11 to 16.
    """
    deltas = rewards + gamma * (1.0 - terminated) * values[1:] - values[:-1]
    # Row t + 1 of a row that did not end is valid, so no advantage leaks across a reset.
    goes_on = (1.0 - terminated) * (1.0 - truncated) * valid
    return linear_recurrence(gamma * gae_lambda * goes_on, deltas * valid, reverse=True)


def advantage_moments(
    advantages: tf.Tensor, weights: tf.Tensor, *, epsilon: float = 1e-8
) -> tuple[tf.Tensor, tf.Tensor]:
    """What `normalize_advantages` shifts and divides by: mean, and standard deviation plus epsilon; scalars."""
    mean, variance = weighted_moments(advantages, weights)
    return mean, tf.sqrt(variance) + epsilon


def winsorize(values: tf.Tensor, weights: tf.Tensor, limit: float) -> tf.Tensor:
    """Cut values at `limit` standard deviations from their mean: what is beyond becomes the limit itself.

    Estimated advantages have heavy tails, and so a few samples make much of the noise of a policy gradient (Garg et
    al., 2021, On Proximal Policy Optimization's Heavy-tailed Gradients). Cut, they bias it, and it has less variance.

    Args:
      values: float [N].
      weights: float [N], summing to 1, 0 on padding.
      limit: standard deviations, > 0; mean and standard deviation are those of the valid samples before the cut.

    Returns:
      float [N].
    """
    mean, variance = weighted_moments(values, weights)
    reach = limit * tf.sqrt(variance)
    return tf.clip_by_value(values, mean - reach, mean + reach)


def normalize_advantages(advantages: tf.Tensor, weights: tf.Tensor, *, epsilon: float = 1e-8) -> tf.Tensor:
    """Shift and scale advantages to mean 0 and standard deviation 1 over the valid samples.

    Args:
      advantages: float [N].
      weights: float [N], summing to 1, 0 on padding.
      epsilon: added to the standard deviation, so that equal advantages become zeros.

    Returns:
      float [N]; 0 on padding.
    """
    mean, scale = advantage_moments(advantages, weights, epsilon=epsilon)
    centred = (advantages - mean) / scale
    return tf.where(weights > 0, centred, tf.zeros_like(centred))
