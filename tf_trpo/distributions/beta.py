"""Beta distribution for continuous actions between bounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, final

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from numpy.typing import ArrayLike

from tf_trpo.distributions.action_box import ActionBox
from tf_trpo.distributions.action_distribution import Distribution
from tf_trpo.distributions.box_distribution import BoxDistribution
from tf_trpo.numerics import Reflection

LARGEST_ACTION = float(np.nextafter(np.float32(1), np.float32(0)))
"""Largest absolute value of a sampled action, just below 1; at 1, the density may be 0 or infinite."""
SMALLEST = float(np.finfo(np.float32).tiny)
PROPOSALS = 8
"""Proposals per gamma variate, the first accepted one of which is used; each is accepted with probability >= 0.95."""


@final
@keras.saving.register_keras_serializable(package="tf_trpo")
class Beta(BoxDistribution):
    """A Beta distribution for each dimension, stretched to [-1, 1], the coordinates of `ActionBox`.

    Parameters are the concentrations [a, b] = 1 + softplus(outputs), D = 2 d. They are above 1, so that the density has
    one maximum. Actions never exceed the bounds, so that none is clipped.

    Args:
      action_low: lower bounds, finite, an array of the shape of one action, d numbers.
      action_high: upper bounds, finite.
      action_dtype: float dtype of the environment's actions.
      **kwargs: arguments of `keras.layers.Layer`.

    Raises:
      ValueError: a dimension does not have two bounds.

    Source:
      Chou, Maturana and Scherer (2017), "Improving Stochastic Policy Gradients in Continuous Control with Deep
      Reinforcement Learning using the Beta Distribution"; Marsaglia and Tsang (2000), "A Simple Method for Generating
      Gamma Variables", for `sample`.
    """

    def __init__(
        self, action_low: ArrayLike, action_high: ArrayLike, *, action_dtype: str = "float32", **kwargs: Any
    ) -> None:
        box = ActionBox(action_low, action_high, action_dtype)
        if not box.bounded.all():
            first = int(np.argmin(box.bounded))
            raise ValueError(f"a Beta distribution needs two bounds, and action {first} has not: use a Gaussian")
        super().__init__(box, 2 * len(box.low), **kwargs)

    def parameters(self, outputs: tf.Tensor) -> tf.Tensor:
        return 1.0 + tf.nn.softplus(outputs)

    def distribution(self, parameters: tf.Tensor) -> Distribution:
        stretch = tfp.bijectors.Chain(
            [tfp.bijectors.Shift(tf.cast(-1.0, parameters.dtype)), tfp.bijectors.Scale(tf.cast(2.0, parameters.dtype))]
        )
        beta = tfp.distributions.Beta(*tf.split(parameters, 2, axis=-1))
        return tfp.distributions.Independent(tfp.distributions.TransformedDistribution(beta, stretch), 1)

    def log_prob(self, parameters: tf.Tensor, actions: tf.Tensor) -> tf.Tensor:
        a, b = tf.split(parameters, 2, axis=-1)
        actions = tf.clip_by_value(tf.cast(actions, parameters.dtype), -LARGEST_ACTION, LARGEST_ACTION)
        # The density of (1 + action) / 2, divided by 2; log1p is accurate near the bounds.
        power = (a - 1.0) * tf.math.log1p(actions) + (b - 1.0) * tf.math.log1p(-actions)
        return tf.reduce_sum(power - (a + b - 1.0) * math.log(2.0) - _log_beta(a, b), axis=-1)

    def kl(self, parameters: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
        (a, b), (c, d) = tf.split(parameters, 2, axis=-1), tf.split(other, 2, axis=-1)
        means = (a - c) * tf.math.digamma(a) + (b - d) * tf.math.digamma(b)
        total = (c - a + d - b) * tf.math.digamma(a + b)
        return tf.reduce_sum(_log_beta(c, d) - _log_beta(a, b) + means + total, axis=-1)

    def metric_product(self, parameters: tf.Tensor, vectors: tf.Tensor) -> tf.Tensor:
        """M = diag(trigamma(a), trigamma(b)) - trigamma(a + b), for each dimension."""
        # In float64, because of a nearly deterministic distribution: differences of nearly equal numbers.
        (a, b), (u, v) = (tf.split(tf.cast(pair, tf.float64), 2, axis=-1) for pair in (parameters, vectors))
        shared = _trigamma(a + b) * (u + v)
        product = tf.concat([_trigamma(a) * u - shared, _trigamma(b) * v - shared], axis=-1)
        return tf.cast(product, vectors.dtype)

    def entropy(self, parameters: tf.Tensor) -> tf.Tensor:
        a, b = tf.split(parameters, 2, axis=-1)
        means = (a - 1.0) * tf.math.digamma(a) + (b - 1.0) * tf.math.digamma(b)
        total = (a + b - 2.0) * tf.math.digamma(a + b)
        return tf.reduce_sum(_log_beta(a, b) - means + total + math.log(2.0), axis=-1)

    def noise(self, shape: Sequence[int], seed: tf.Tensor) -> tf.Tensor:
        """Draw noise [*shape, 2 PROPOSALS, 2 d]: for each gamma variate, normals, then logarithms of uniforms."""
        seeds = tf.unstack(tf.random.split(seed, 2))
        shape = [*shape, PROPOSALS, self.num_outputs]
        uniform = tf.random.stateless_uniform(shape, seeds[1], minval=SMALLEST)
        return tf.concat([tf.random.stateless_normal(shape, seeds[0]), tf.math.log(uniform)], axis=-2)

    def sample(self, parameters: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """Compute (x - y) / (x + y) from gamma variates x and y of shapes a and b, clipped off the bounds."""
        x, y = tf.split(_gamma(parameters, noise), 2, axis=-1)
        return tf.clip_by_value((x - y) / (x + y), -LARGEST_ACTION, LARGEST_ACTION)

    def mode(self, parameters: tf.Tensor) -> tf.Tensor:
        a, b = tf.split(parameters, 2, axis=-1)
        # If both concentrations are 1, all actions are equally likely, and this returns their middle, 0.
        return (a - b) / tf.maximum(a + b - 2.0, SMALLEST)

    def named_parameters(self, parameters: tf.Tensor) -> dict[str, tf.Tensor]:
        a, b = tf.split(parameters, 2, axis=-1)
        return {"concentration1": a, "concentration0": b}

    def figures(self, parameters: tf.Tensor) -> dict[str, tf.Tensor]:
        """Compute "std", the standard deviation of each sample [N], averaged over the action dimensions."""
        a, b = tf.split(parameters, 2, axis=-1)
        return {"std": tf.reduce_mean(2.0 / (a + b) * tf.sqrt(a * b / (a + b + 1.0)), axis=-1)}

    def mirrored(self, actions: Reflection) -> Reflection:
        """Return the reflection of the outputs: a sign of -1 swaps the two concentrations of a dimension."""
        self.box.check_mirror(actions)
        size = len(actions.signs)
        turned = [size if sign < 0 else 0 for sign in actions.signs]
        up = [source + shift for source, shift in zip(actions.sources, turned, strict=True)]
        down = [(source + size) % (2 * size) for source in up]
        return Reflection((*up, *down), (1,) * (2 * size))


def _gamma(shapes: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
    """Compute gamma variates [N, m] of shapes [N, m] >= 1 from the first accepted proposals.

    If no proposal is accepted, which happens once in 10^10 times, the result is the distribution's mode, or near it.
    """
    normal, log_uniform = tf.split(noise, 2, axis=-2)
    d = (shapes - 1.0 / 3.0)[:, None]
    root = 1.0 + normal * tf.math.rsqrt(9.0 * d)
    cube = root * root * root
    log_cube = tf.math.log(tf.maximum(cube, SMALLEST))
    accepted = (cube > 0.0) & (log_uniform < 0.5 * tf.square(normal) + d * (1.0 - cube + log_cube))
    chosen = tf.ones_like(shapes)
    for proposal in reversed(range(PROPOSALS)):
        chosen = tf.where(accepted[:, proposal], cube[:, proposal], chosen)
    return d[:, 0] * chosen


def _trigamma(values: tf.Tensor) -> tf.Tensor:
    return tf.math.polygamma(tf.ones_like(values), values)


def _log_beta(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    return tf.math.lgamma(a) + tf.math.lgamma(b) - tf.math.lgamma(a + b)
