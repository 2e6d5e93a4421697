"""Advantages from branches: several actions in the same state, each with an estimate of its return."""

from __future__ import annotations

from tf_trpo.lazy import tensorflow as tf
from tf_trpo.numerics import check_shapes, scalar


def branch_returns(
    rewards: tf.Tensor, steps: tf.Tensor, terminated: tf.Tensor, values: tf.Tensor, *, gamma: float | tf.Tensor
) -> tf.Tensor:
    """Estimate Q(s, a) from the rewards of a branch of l steps, and from the value function after them.

        Q = r_0 + gamma r_1 + ... + gamma^(l - 1) r_(l-1) + gamma^l (1 - terminated) V(s_l)

    Args:
      rewards: rewards of each branch, float [N, L]; 0 after its last step.
      steps: l, the number of steps of each branch, int32 [N], in [0, L].
      terminated: 1 if the last step ended the episode in a terminal state, else 0; float [N].
      values: V of the observation after the last step, float [N], in the unit of the rewards.
      gamma: discount, in [0, 1]; a number or a float64 scalar.

    Returns:
      Estimates of Q, float [N], in the unit of the rewards.

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

    If the K actions are all actions of the space, the baseline is V(s), the mean of Q(s, a) under the policy. If they
    were drawn from the policy, the baseline of an action is the mean Q of the other K - 1 actions. Then the advantage
    is K / (K - 1) times the difference from the mean of all K, and its expectation is A(s, a) if the estimates of Q are
    unbiased.

    Args:
      returns: estimates of Q, float [N, K], with K >= 2 if the actions were drawn.
      probabilities: the policy's probabilities of the actions, float [N, K], with sum 1; None if the actions were
        drawn.

    Returns:
      Advantages, float [N, K].

    Source:
      Schulman et al. (2015), equation 15. At the old policy, the gradient of equation 16, the self-normalised
      estimator, is (K - 1) / K times the gradient with these advantages.
    """
    check_shapes("branch_advantages", returns=(returns, "N K"))
    if probabilities is None:
        count = returns.shape[1]
        return (returns - tf.reduce_mean(returns, axis=1, keepdims=True)) * (count / (count - 1))
    check_shapes("branch_advantages", returns=(returns, "N K"), probabilities=(probabilities, "N K"))
    return returns - tf.reduce_sum(probabilities * returns, axis=1, keepdims=True)
