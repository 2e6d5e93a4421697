"""Advantages from branches: several actions of one state, each with the return that followed it."""

from __future__ import annotations

from tf_trpo.lazy import tensorflow as tf
from tf_trpo.numerics import check_shapes, scalar


def branch_returns(
    rewards: tf.Tensor, steps: tf.Tensor, terminated: tf.Tensor, values: tf.Tensor, *, gamma: float | tf.Tensor
) -> tf.Tensor:
    """Estimate Q(s, a) by the first l steps of a branch, and by the value function for what follows.

        Q = r_0 + gamma r_1 + ... + gamma^(l - 1) r_(l-1) + gamma^l (1 - terminated) V(s_l)

    Args:
      rewards: of the steps of each branch, float [N, L]; 0 after its end.
      steps: l, that each branch took, int32 [N], in [0, L].
      terminated: 1 if the last step ended the episode in a terminal state, else 0; float [N].
      values: V of the observation that the last step led to, float [N], in the unit of the rewards.
      gamma: discount, in [0, 1]; a number or a float64 scalar.

    Returns:
      float [N], in the unit of the rewards.

    Source:
      Schulman et al. (2015), section 5.2, with a bootstrap.
    """
    shapes = {"rewards": (rewards, "N L"), "steps": (steps, "N"), "terminated": (terminated, "N")}
    check_shapes("branch_returns", **shapes, values=(values, "N"))
    gamma = scalar(gamma, values.dtype)
    discounts = tf.pow(gamma, tf.range(rewards.shape[1], dtype=values.dtype))
    follows = tf.pow(gamma, tf.cast(steps, values.dtype)) * (1.0 - terminated) * values
    return tf.linalg.matvec(rewards, discounts) + follows


def branch_advantages(returns: tf.Tensor, probabilities: tf.Tensor | None = None) -> tf.Tensor:
    """Compute the advantages of K actions in each of N states.

    If the K actions are all that there are, V(s) is the mean of Q(s, a) under the policy. If they are drawn from the
    policy, the advantage of each is its Q less the mean Q of the others: K / (K - 1) times its difference from the mean
    of all, which has the expectation A(s, a) if Q has none but that of Q(s, a).

    Args:
      returns: estimates of Q, float [N, K], with K >= 2 if the actions were drawn.
      probabilities: of the policy, float [N, K], with sum 1; None if the actions were drawn.

    Returns:
      float [N, K].

    Source:
      Schulman et al. (2015), equation 15; of equation 16, the self-normalised estimator, the gradient at the old policy
      is that of such differences, times (K - 1) / K.
    """
    check_shapes("branch_advantages", returns=(returns, "N K"))
    if probabilities is None:
        count = returns.shape[1]
        return (returns - tf.reduce_mean(returns, axis=1, keepdims=True)) * (count / (count - 1))
    check_shapes("branch_advantages", returns=(returns, "N K"), probabilities=(probabilities, "N K"))
    return returns - tf.reduce_sum(probabilities * returns, axis=1, keepdims=True)
