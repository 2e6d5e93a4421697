"""Products v -> F v with the Fisher information matrix, which is never formed.

F is the Hessian of the mean KL divergence KL(theta || .) at the current parameters theta. Let p_n(theta) be the
parameters of the action distribution of sample n. The KL has its minimum 0, and so a zero gradient, at p_n(theta). So

    F = sum_n w_n J_n' M_n J_n,   J_n = d p_n / d theta,   M_n = d2 KL(p_n || q) / d q2 at q = p_n.

Gauss-Newton multiplies by the three factors, and its F is positive semi-definite by construction. J v comes from
forward mode; where forward mode cannot go, it is the gradient of u'(J v) with respect to u, by two reverse passes.
Double backprop differentiates the KL twice, and is the oracle of the tests.
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
    *,
    forward_mode: bool = True,
) -> Product:
    """Make the Fisher-vector product J' M J v: forward mode, a small Hessian in the middle, reverse mode.

    Args:
      parameters: theta [P] -> distribution parameters [N, D], differentiable.
      divergence: (p [N, D], q [N, D]) -> KL(p || q) [N] in nats, twice differentiable in q, with its minimum 0 at
        q = p.
      theta: current parameters, float [P].
      weights: weight of each sample, float [N], >= 0. For a mean over n valid samples, their weight is 1/n and all
        other weights are 0.
      metric: closed form, (p [N, D], u [N, D]) -> M_n u_n [N, D]. By default the divergence is differentiated twice.
      forward_mode: compute J v by forward mode; otherwise by two reverse passes, which takes longer and gives the same
        up to rounding. Loops of TensorFlow, and so Keras' recurrent layers, are what forward mode cannot go through:
        the product then raises one of many errors.

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
    pushed = _pushed_forward if forward_mode else _pushed_by_reverse_mode

    def product(vector: tf.Tensor) -> tf.Tensor:
        check(theta=(theta, "P"), vector=(vector, "P"))
        current, tangent = pushed(parameters, theta, vector)
        check(weights=(weights, "N"), parameters=(current, "N D"))
        image = metric(current, tangent)
        check(parameters=(current, "N D"), metric=(image, "N D"))
        cotangent = weights[:, None] * image
        with tf.GradientTape() as tape:
            tape.watch(theta)
            current = parameters(theta)
        return tape.gradient(current, theta, output_gradients=cotangent, unconnected_gradients="zero")

    return product


def _pushed_forward(parameters: ParametersFunction, theta: tf.Tensor, vector: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Compute p [N, D] and J v [N, D]."""
    with tf.autodiff.ForwardAccumulator(theta, vector) as forward:
        current = parameters(theta)
    return current, forward.jvp(current, unconnected_gradients="zero")


def _pushed_by_reverse_mode(
    parameters: ParametersFunction, theta: tf.Tensor, vector: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Compute p [N, D] and J v [N, D]: J'u is linear in u, and its derivative, transposed, is J."""
    with tf.GradientTape() as outer:
        with tf.GradientTape() as inner:
            inner.watch(theta)
            current = parameters(theta)
        direction = tf.zeros_like(current)
        outer.watch(direction)
        pulled = inner.gradient(current, theta, output_gradients=direction, unconnected_gradients="zero")
    tangent = outer.gradient(pulled, direction, output_gradients=vector, unconnected_gradients="zero")
    return current, tangent


def hessian_product_at_minimum(divergence: DivergenceFunction, current: tf.Tensor, tangent: tf.Tensor) -> tf.Tensor:
    """Compute M_n u_n for every sample, M_n = d2 KL(p_n || q) / d q2 at q = p_n, by forward over reverse mode.

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
    with tf.autodiff.ForwardAccumulator(new, tangent) as forward:
        with tf.GradientTape() as tape:
            tape.watch(new)
            kl = divergence(old, new)
        check_shapes("hessian_product_at_minimum", current=(current, "N D"), divergence=(kl, "N"))
        gradient = tape.gradient(kl, new)
    return forward.jvp(gradient, unconnected_gradients="zero")


def double_backprop_fisher_vector_product(
    parameters: ParametersFunction, divergence: DivergenceFunction, theta: tf.Tensor, weights: tf.Tensor
) -> Product:
    """Make the Fisher-vector product as the gradient of (gradient of the mean KL) . v.

    It costs about 1.5 times as much as `gauss_newton_fisher_vector_product`, which explains the arguments, result and
    errors. Here the parameters must be twice differentiable.

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
