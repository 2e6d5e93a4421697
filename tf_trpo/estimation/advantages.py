"""Generalised advantage estimation, and the scaling of advantages."""

from __future__ import annotations

from tf_trpo.estimation.moments import weighted_moments
from tf_trpo.lazy import tensorflow as tf
from tf_trpo.numerics import check_shapes, linear_recurrence, scalar


def gae(
    rewards: tf.Tensor,
    values: tf.Tensor,
    terminated: tf.Tensor,
    truncated: tf.Tensor,
    valid: tf.Tensor,
    *,
    gamma: float | tf.Tensor,
    gae_lambda: float | tf.Tensor,
) -> tf.Tensor:
    """Estimate advantages A_t = sum_l (gamma lambda)^l delta_{t+l}, summed to the end of the episode.

        delta_t = r_t + gamma (1 - terminated_t) V(s_{t+1}) - V(s_t)

    A terminated step has no successor. A truncated step, and the last row of the rollout, bootstrap from the value of
    their true successor. It is row t + 1 of `values`, since NEXT_STEP autoreset puts the final observation there.

    Args:
      rewards: reward of the step at each row, float [T, B].
      values: V of the observation at each row, float [T + 1, B], in the unit of the rewards.
      terminated: 1 if the step ended the episode in a terminal state, else 0; float [T, B].
      truncated: 1 if the step was the last of the episode for another reason (a time limit), else 0; float [T, B].
      valid: 0 if the row is not a step of an episode (autoreset, a pause), else 1; float [T, B].
      gamma: discount, in [0, 1]; a number or a float64 scalar.
      gae_lambda: lambda, in [0, 1]; a number or a float64 scalar. 0 gives the one-step TD error, 1 the Monte Carlo
        return minus V.

    Returns:
      Advantages, float [T, B], in the unit of the rewards; 0 on rows that are not valid.

    Source:
      Schulman et al. (2016), equations 11 to 16.
    """
    check_rollout("gae", rewards, values, terminated, truncated, valid)
    deltas = rewards + scalar(gamma, values.dtype) * (1.0 - terminated) * values[1:] - values[:-1]
    # The last step of an episode takes no advantage from later rows. A row that is not a step passes later advantages
    # on undiscounted, since it may be a pause within an episode.
    goes_on = scalar(gamma * gae_lambda, values.dtype) * (1.0 - terminated) * (1.0 - truncated) * valid + (1.0 - valid)
    return linear_recurrence(goes_on, deltas * valid, reverse=True) * valid


def check_rollout(function: str, *rows: tf.Tensor) -> None:
    """Raise ValueError unless the first five arguments of `gae` have the shapes that it documents."""
    shapes = {"rewards": "T B", "values": "T+1 B", "terminated": "T B", "truncated": "T B", "valid": "T B"}
    check_shapes(function, **{name: (row, shapes[name]) for name, row in zip(shapes, rows, strict=True)})


def advantage_moments(advantages: tf.Tensor, weights: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Compute the shift and the scale that `normalize_advantages` uses.

    Args:
      advantages: float [N].
      weights: float [N], with sum 1; 0 on padding.

    Returns:
      The mean, and the standard deviation, or 1 if all advantages are equal; float scalars. No epsilon is added, so
      that advantages of size 1e-12 are normalised like advantages of size 1.
    """
    check_shapes("advantage_moments", advantages=(advantages, "N"), weights=(weights, "N"))
    mean, variance = weighted_moments(advantages, weights)
    return mean, tf.where(variance > 0.0, tf.sqrt(variance), tf.ones_like(variance))


def winsorize(values: tf.Tensor, weights: tf.Tensor, limit: float | tf.Tensor) -> tf.Tensor:
    """Clip values to at most `limit` standard deviations from their mean.

    Estimated advantages have heavy tails, so a few samples cause much of the noise of a policy gradient. Clipping adds
    bias and reduces variance.

    Args:
      values: float [N].
      weights: float [N], with sum 1; 0 on padding.
      limit: number of standard deviations, > 0; a number or a float scalar. Mean and standard deviation are those of
        the valid samples before clipping.

    Returns:
      float [N].

    Source:
      Garg et al. (2021), On Proximal Policy Optimization's Heavy-tailed Gradients.
    """
    check_shapes("winsorize", values=(values, "N"), weights=(weights, "N"))
    mean, variance = weighted_moments(values, weights)
    reach = scalar(limit, variance.dtype) * tf.sqrt(variance)
    return tf.clip_by_value(values, mean - reach, mean + reach)


def normalize_advantages(advantages: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Shift and scale advantages to mean 0 and standard deviation 1 over the valid samples.

    Args:
      advantages, weights: as for `advantage_moments`.

    Returns:
      float [N]: 0 on padding, and 0 everywhere if all advantages are equal.
    """
    check_shapes("normalize_advantages", advantages=(advantages, "N"), weights=(weights, "N"))
    mean, scale = advantage_moments(advantages, weights)
    centred = (advantages - mean) / scale
    return tf.where(weights > 0, centred, tf.zeros_like(centred))
