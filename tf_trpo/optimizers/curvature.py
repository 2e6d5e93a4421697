"""Fisher-vector products on all samples of a batch, or on a fraction of them."""

from __future__ import annotations

import functools
import operator
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tf_trpo.estimation import as_rows
from tf_trpo.estimation.batch import chunk_weights, weights_in_chunk
from tf_trpo.lazy import tensorflow as tf
from tf_trpo.numerics import (
    differentiable_twice,
    double_backprop_fisher_vector_product,
    gauss_newton_fisher_vector_product,
    reduce_over_chunks,
)
from tf_trpo.numerics.fisher_vector_product import Product

if TYPE_CHECKING:
    from tf_trpo.models import Policy

FisherVectorProduct = Literal["gauss-newton", "double-backprop"]


def sampled_product(
    policy: Policy,
    theta: tf.Tensor,
    observations: Any,
    weights: tf.Tensor,
    kind: FisherVectorProduct,
    chunk_size: int | None,
) -> Product:
    """Make the function v [P] -> F v [P], with a policy's Fisher matrix F at theta [P], on samples or segments."""
    distribution = policy.action_distribution

    def on_chunk(theta: tf.Tensor, vector: tf.Tensor, observations: Any, weights: tf.Tensor) -> tf.Tensor:
        parameters = functools.partial(policy.parameters_at, observations=observations)
        given = parameters, distribution.kl, theta, as_rows(weights, weights)
        if kind == "double-backprop":
            with differentiable_twice():
                return double_backprop_fisher_vector_product(*given)(vector)
        return gauss_newton_fisher_vector_product(*given, distribution.metric_product)(vector)

    # A tf.function, so that it is traced once for all uses.
    traced = tf.function(on_chunk, autograph=False)

    def product(vector: tf.Tensor) -> tf.Tensor:
        def of_chunk(chunk: tuple[Any, tf.Tensor], counted: tf.Tensor) -> tf.Tensor:
            return traced(theta, vector, chunk[0], weights_in_chunk(chunk[1], counted))

        nothing, samples = tf.zeros_like(theta), (observations, weights)
        return reduce_over_chunks(of_chunk, operator.add, nothing, samples, chunk_weights(weights), chunk_size)

    return product


def subsample(observations: Any, weights: tf.Tensor, fraction: float) -> tuple[Any, tf.Tensor]:
    """Choose a fraction of the samples, and scale their weights to the sum 1.

    The first samples of a random order, which is the same for every batch, are chosen; samples of weight 0 come last in
    it. The order is random because every k-th row of a flattened [T, B] could belong to the same environment. If the
    weights are [S, L], whole segments are chosen.
    """
    if fraction == 1.0:
        return observations, weights
    size = weights.shape[0]
    if size is None:
        raise ValueError("a curvature_fraction below 1 needs a static number of samples")
    places = np.argsort(np.random.default_rng(0).permutation(size))
    counts = weights > 0 if weights.shape.rank == 1 else tf.reduce_any(weights > 0, axis=1)
    order = tf.argsort(tf.where(counts, places, places + size))
    rows = tf.sort(order[: max(1, round(fraction * size))])
    weights = tf.gather(weights, rows)
    chosen = tf.nest.map_structure(lambda part: tf.gather(part, rows), observations)
    return chosen, tf.math.divide_no_nan(weights, tf.reduce_sum(weights))
