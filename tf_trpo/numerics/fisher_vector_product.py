"""Products with the Fisher information matrix, never formed: v -> F v.

F is the Hessian, at the current parameters theta, of the mean KL divergence KL(theta || .). With the
policy written as p(theta), the distribution's parameters for every sample, and the KL having its
minimum 0 (so a zero gradient) at p(theta),

    F = sum_n w_n J_n' M_n J_n,   J_n = d p_n / d theta,   M_n = d2 KL(p_n || q) / d q2 at q = p_n.

Both functions here compute that product. Gauss-Newton goes through the three factors; it is positive
semi-definite by construction. Double backprop differentiates the KL twice; it is the oracle.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeAlias

from tf_trpo.lazy import tensorflow as tf

ParametersFunction: TypeAlias = "Callable[[tf.Tensor], tf.Tensor]"
"""theta [P] -> distribution parameters [N, D]."""
DivergenceFunction: TypeAlias = "Callable[[tf.Tensor, tf.Tensor], tf.Tensor]"
"""(p [N, D], q [N, D]) -> KL(p || q) for each sample [N], in nats."""
MetricFunction: TypeAlias = "Callable[[tf.Tensor, tf.Tensor], tf.Tensor]"
"""(p [N, D], u [N, D]) -> M u [N, D], M_n the Hessian of KL(p_n || .) at p_n."""
Product: TypeAlias = "Callable[[tf.Tensor], tf.Tensor]"
"""v [P] -> F v [P]."""


def gauss_newton_fisher_vector_product(
    parameters: ParametersFunction,
    divergence: DivergenceFunction,
    theta: tf.Tensor,
    weights: tf.Tensor,
    metric: MetricFunction | None = None,
) -> Product:
    """Fisher-vector product J' M J v: forward mode, a small middle Hessian, reverse mode.

    Args:
      parameters: theta [P] -> distribution parameters [N, D], differentiable.
      divergence: (p, q) -> KL(p || q) [N], twice differentiable in q, zero at q = p.
      theta: current parameters [P].
      weights: sample weights [N], non-negative; a mean over n valid samples has 1/n there, 0 elsewhere.
      metric: M_n u_n in closed form; by default the divergence is differentiated twice.

    Returns:
      The function v [P] -> F v [P], symmetric and positive semi-definite.

    Source:
      Schulman et al. (2015), appendix C.1; Martens (2014), section 8 (generalised Gauss-Newton).
    """
    if metric is None:
        metric = functools.partial(hessian_product_at_minimum, divergence)

    def product(vector: tf.Tensor) -> tf.Tensor:
        with tf.autodiff.ForwardAccumulator(theta, vector) as forward:
            current = parameters(theta)
        tangent = forward.jvp(current, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        cotangent = weights[:, None] * metric(current, tangent)
        with tf.GradientTape() as tape:
            tape.watch(theta)
            current = parameters(theta)
        return tape.gradient(
            current, theta, output_gradients=cotangent, unconnected_gradients=tf.UnconnectedGradients.ZERO
        )

    return product


def hessian_product_at_minimum(divergence: DivergenceFunction, current: tf.Tensor, tangent: tf.Tensor) -> tf.Tensor:
    """M_n u_n [N, D] for every sample, M_n = d2 KL(p_n || q) / d q2 at q = p_n, by forward over reverse mode.

    Args:
      divergence: (p, q) -> KL(p || q) [N].
      current: p [N, D].
      tangent: u [N, D].
    """
    old = tf.stop_gradient(current)
    new = tf.identity(old)
    with tf.autodiff.ForwardAccumulator(new, tangent) as forward:
        with tf.GradientTape() as tape:
            tape.watch(new)
            kl = divergence(old, new)
        gradient = tape.gradient(kl, new)
    return forward.jvp(gradient, unconnected_gradients=tf.UnconnectedGradients.ZERO)


def double_backprop_fisher_vector_product(
    parameters: ParametersFunction, divergence: DivergenceFunction, theta: tf.Tensor, weights: tf.Tensor
) -> Product:
    """Fisher-vector product as the gradient of (gradient of the mean KL) . v.

    Arguments and result as in `gauss_newton_fisher_vector_product`; about 1.5 times its cost.

    Source:
      Pearlmutter (1994); Schulman et al. (2015), appendix C.
    """
    old = tf.stop_gradient(parameters(theta))

    def product(vector: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as outer:
            outer.watch(theta)
            with tf.GradientTape() as inner:
                inner.watch(theta)
                mean_kl = tf.reduce_sum(weights * divergence(old, parameters(theta)))
            gradient = inner.gradient(mean_kl, theta, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return outer.gradient(
            gradient, theta, output_gradients=vector, unconnected_gradients=tf.UnconnectedGradients.ZERO
        )

    return product
