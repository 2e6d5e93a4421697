"""Products v -> F v with the Fisher information matrix, which is never formed.

F is the Hessian of the mean KL divergence KL(theta || .) at the current parameters theta. Let p_n(theta) be the
parameters of the action distribution of sample n. At p_n(theta), the KL has its minimum 0 and a zero gradient. So

    F = sum_n w_n J_n' M_n J_n,   J_n = d p_n / d theta,   M_n = d2 KL(p_n || q) / d q2 at q = p_n.

Gauss-Newton multiplies by the three factors, and its F is positive semi-definite by construction. J v is the gradient
of (J'u)'v with respect to u. In a traced function, only the operations of forward mode remain, since the others are
unused, and loops are supported. TensorFlow's own forward mode does not support loops; and after 32 traces of an
operation it uses unknown shapes, so that the last bits of results would depend on the history of the process. Double
backprop differentiates the KL twice, and is the oracle of the tests.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeAlias

from tf_trpo.lazy import tensorflow as tf
from tf_trpo.numerics.shapes import check_shapes

ParametersFunction: TypeAlias = "Callable[[tf.Tensor], tf.Tensor]"
DivergenceFunction: TypeAlias = "Callable[[tf.Tensor, tf.Tensor], tf.Tensor]"
MetricFunction: TypeAlias = "Callable[[tf.Tensor, tf.Tensor], tf.Tensor]"
Product: TypeAlias = "Callable[[tf.Tensor], tf.Tensor]"
"""v [P] -> F v [P]."""


def gauss_newton_fisher_vector_product(
    parameters: ParametersFunction,
    divergence: DivergenceFunction,
    theta: tf.Tensor,
    weights: tf.Tensor,
    metric: MetricFunction | None = None,
) -> Product:
    """Make the Fisher-vector product J' M J v: two reverse passes for J v, a small Hessian, a third pass for J'.

    Args:
      parameters: theta [P] -> distribution parameters [N, D], differentiable.
      divergence: (p [N, D], q [N, D]) -> KL(p || q) [N] in nats, twice differentiable in q, with its minimum 0 at
        q = p.
      theta: current parameters, float [P].
      weights: weight of each sample, float [N], >= 0. For a mean over n valid samples, their weight is 1/n and all
        other weights are 0.
      metric: closed form (p [N, D], u [N, D]) -> M_n u_n [N, D]. By default, the divergence is differentiated twice.

    Returns:
      The function v [P] -> F v [P], symmetric and positive semi-definite.

    Raises:
      ValueError: a shape is wrong; also from the returned function.

    Source:
      Schulman et al. (2015), appendix C.1; Martens (2014), section 8 (generalised Gauss-Newton).
    """
    check = functools.partial(check_shapes, "gauss_newton_fisher_vector_product")
    check(theta=(theta, "P"), weights=(weights, "N"))
    if metric is None:
        metric = functools.partial(hessian_product_at_minimum, divergence)

    def product(vector: tf.Tensor) -> tf.Tensor:
        check(theta=(theta, "P"), vector=(vector, "P"))
        with tf.GradientTape() as outer:
            with tf.GradientTape(persistent=True) as inner:
                inner.watch(theta)
                current = parameters(theta)
            cotangent = tf.zeros_like(current)
            outer.watch(cotangent)
            pulled = inner.gradient(current, theta, output_gradients=cotangent, unconnected_gradients="zero")
        # J'u is linear in u, so the transpose of its derivative is J at every u.
        tangent = outer.gradient(pulled, cotangent, output_gradients=vector, unconnected_gradients="zero")
        check(weights=(weights, "N"), parameters=(current, "N D"))
        image = metric(current, tangent)
        check(parameters=(current, "N D"), metric=(image, "N D"))
        return inner.gradient(
            current, theta, output_gradients=tf.expand_dims(weights, 1) * image, unconnected_gradients="zero"
        )

    return product


def hessian_product_at_minimum(divergence: DivergenceFunction, current: tf.Tensor, tangent: tf.Tensor) -> tf.Tensor:
    """Compute M_n u_n for every sample by two reverse passes, where M_n = d2 KL(p_n || q) / d q2 at q = p_n.

    Args:
      divergence: as in `gauss_newton_fisher_vector_product`.
      current: p, float [N, D].
      tangent: u, float [N, D].

    Returns:
      float [N, D].
    """
    check_shapes("hessian_product_at_minimum", current=(current, "N D"), tangent=(tangent, "N D"))
    old = tf.stop_gradient(current)
    new = tf.identity(old)
    with tf.GradientTape() as outer:
        outer.watch(new)
        with tf.GradientTape() as inner:
            inner.watch(new)
            kl = divergence(old, new)
        check_shapes("hessian_product_at_minimum", current=(current, "N D"), divergence=(kl, "N"))
        gradient = inner.gradient(kl, new, unconnected_gradients="zero")
    return outer.gradient(gradient, new, output_gradients=tangent, unconnected_gradients="zero")


def double_backprop_fisher_vector_product(
    parameters: ParametersFunction, divergence: DivergenceFunction, theta: tf.Tensor, weights: tf.Tensor
) -> Product:
    """Make the Fisher-vector product as the gradient of (gradient of the mean KL) . v.

    It costs about 1.5 times as much as `gauss_newton_fisher_vector_product`; arguments, result and errors are the same,
    except that `parameters` must be twice differentiable.

    Source:
      Pearlmutter (1994); Schulman et al. (2015), appendix C.
    """
    check = functools.partial(check_shapes, "double_backprop_fisher_vector_product")
    check(theta=(theta, "P"), weights=(weights, "N"))
    old = tf.stop_gradient(parameters(theta))
    check(weights=(weights, "N"), parameters=(old, "N D"))

    def product(vector: tf.Tensor) -> tf.Tensor:
        check(theta=(theta, "P"), vector=(vector, "P"))
        with tf.GradientTape() as outer:
            outer.watch(theta)
            with tf.GradientTape() as inner:
                inner.watch(theta)
                kl = divergence(old, parameters(theta))
                check(weights=(weights, "N"), divergence=(kl, "N"))
                mean_kl = tf.reduce_sum(weights * kl)
            gradient = inner.gradient(mean_kl, theta, unconnected_gradients="zero")
        return outer.gradient(gradient, theta, output_gradients=vector, unconnected_gradients="zero")

    return product
