"""A preconditioner for a policy's Fisher matrix: the damped inverse of the Fisher matrix of a few states."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from tf_trpo.lazy import tensorflow as tf
from tf_trpo.numerics import (
    OuterProducts,
    gauss_newton_fisher_vector_product,
    sampled_fisher_inverse,
    scalar,
    unflatten,
)
from tf_trpo.optimizers.curvature import subsample
from tf_trpo.optimizers.objective import Objective

if TYPE_CHECKING:
    from tf_trpo.models import Policy
    from tf_trpo.models.dense_calls import DenseCalls

_LEAST_DAMPING = 1e-3
_LEAST_DAMPING_SHARE = 1e-4
"""Least damping, absolute and as a share of the norm of F'. The norm grows as 1 / std^2, and with less damping, the
inverse in float32 would not stay positive definite. With a share of 3e-5, it did not."""
_MOST_COLUMNS = 8
"""Largest number of rows of J for each state; more would leave too few states."""


def sampled_fisher_preconditioner(
    objective: Objective, rank: int, damping: float | tf.Tensor, least_covered: float = 0.0
) -> Callable[[tf.Tensor], tf.Tensor] | None:
    """Make the product r [P] -> (F' + damping I)^-1 r, where F' approximates the Fisher matrix F.

    For kernels and biases of Dense layers that were called once, with one row for each state (or two: one for its
    mirror image), F' is the Fisher matrix of a few states. For every other weight tensor, F' is the identity times the
    tensor's mean curvature, estimated from the actions that were taken.

    Args:
      objective: the batch, and the policy that took its actions.
      rank: largest rank of the first part of F', >= 1: the number of states times the number of outputs, at most 8.
      damping: > 0; a number or a float scalar. It is raised to 0.001, and to 1e-4 times the Frobenius norm of the first
        part of F', if it is smaller.
      least_covered: smallest share of the policy's weights that must be such kernels and biases, in [0, 1].

    Returns:
      The product, or None if the share is smaller.

    Raises:
      ValueError: the number of samples in the batch is not static.
    """
    from tf_trpo.models.dense_calls import dense_calls
    from tf_trpo.spaces import mask_of

    policy, batch, theta = objective.policy, objective.batch, objective.theta
    size, columns = batch.weights.shape[0], min(policy.action_distribution.num_outputs, _MOST_COLUMNS)
    if size is None:
        raise ValueError("a preconditioner needs a static number of samples in a batch")
    states = min(size, max(1, min(rank, objective.chunk_size or rank) // columns))
    (observations, actions), weights = subsample((batch.observations, batch.actions), batch.weights, states / size)
    mask, roots = mask_of(policy.encoder.spec, observations), tf.sqrt(weights)
    repeated = tf.nest.map_structure(lambda rows: tf.tile(rows, [columns] + [1] * (rows.shape.rank - 1)), observations)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(theta)
        with policy.scope_at(theta), dense_calls(policy) as found:
            outputs = policy.encoder.from_centred(policy.encoder.centred(repeated))
            log_prob = policy.action_distribution.log_prob(policy.of_outputs(outputs[:states], mask), actions)
        # With random signs, the expectation of the square of a sum is the sum of squares. Without them, this would hold
        # for actions drawn from the policy only, not if all actions of a state are tried.
        signs = tf.constant(np.random.default_rng(0).choice([-1.0, 1.0], states), roots.dtype)
        score = tf.reduce_sum(signs * roots * tf.cast(log_prob, roots.dtype))
    with policy.scope_at(theta):
        cotangents = roots[:, None] * _metric_roots(policy, outputs[:states], mask, columns)
    known = _outer_products(tape, found, outputs, cotangents)
    variables = policy.trainable_variables
    if sum(_size(each) for each in variables if id(each) in known) < least_covered * sum(map(_size, variables)):
        return None
    of_score = unflatten(tape.gradient(score, theta, unconnected_gradients="zero"), variables)
    factors = [
        known[id(variable)] if id(variable) in known else tf.reduce_mean(tf.square(part))
        for variable, part in zip(variables, of_score, strict=True)
    ]
    damping = tf.maximum(scalar(damping, tf.float32), _LEAST_DAMPING)
    return sampled_fisher_inverse(variables, factors, damping, _LEAST_DAMPING_SHARE)


def _size(weight: tf.Variable) -> int:
    return math.prod(weight.shape)


def _outer_products(
    tape: tf.GradientTape, found: list[DenseCalls], outputs: tf.Tensor, cotangents: tf.Tensor
) -> dict[int, OuterProducts]:
    """Return the parts of J, by the ids of kernels and biases, for cotangents [C, N, O] of the outputs [C N, O]."""
    columns, states, _ = cotangents.shape
    known = [calls for calls in found if _is_once_for_each(states * columns, calls)]
    of_sums = tape.gradient(
        outputs,
        [calls.sums[0] for calls in known],
        output_gradients=tf.reshape(cotangents, outputs.shape),
        unconnected_gradients="zero",
    )
    products = {}
    for calls, of_sum in zip(known, of_sums, strict=True):
        inputs, gradients = (
            tf.reshape(tf.cast(rows, cotangents.dtype), [-1, columns, states, rows.shape[1]])
            for rows in (calls.inputs[0], of_sum)
        )
        inputs = inputs[:, 0]
        products[id(calls.layer.kernel)] = OuterProducts(inputs, gradients)
        products[id(calls.layer.bias)] = OuterProducts(tf.ones_like(inputs[..., :1]), gradients)
    return products


def _metric_roots(policy: Policy, outputs: tf.Tensor, mask: tf.Tensor | None, columns: int) -> tf.Tensor:
    """Compute vectors r_c [columns, N, O]: for each sample, the sum of r_c r_c' is M, the Fisher matrix of its outputs.

    With fewer columns than outputs, this holds in expectation over random columns, which differ between samples.
    """
    states, size = outputs.shape
    distribution, mask = policy.action_distribution, None if mask is None else tf.repeat(mask, size, axis=0)
    units = tf.tile(tf.eye(size, dtype=outputs.dtype), [states, 1])
    # Each sample is repeated for each output: the product of M with a unit vector is a column of M.
    product = gauss_newton_fisher_vector_product(
        lambda flat: policy.of_outputs(tf.reshape(flat, units.shape), mask),
        distribution.kl,
        tf.reshape(tf.repeat(outputs, size, axis=0), [-1]),
        tf.ones([states * size], outputs.dtype),
        distribution.metric_product,
    )
    metric = tf.reshape(product(tf.reshape(units, [-1])), [states, size, size])
    # M may be singular (for logits it always is) or 0, but Cholesky needs a positive definite matrix.
    added = 1e-4 * tf.linalg.trace(metric) / size + 1e-12
    root = tf.linalg.cholesky(metric + added[:, None, None] * tf.eye(size, dtype=outputs.dtype))
    random = np.random.default_rng(0).normal(size=(states, size, columns))
    mixed = np.linalg.qr(random).Q * np.sqrt(size / columns)
    return tf.transpose(root @ tf.constant(mixed, outputs.dtype), [2, 0, 1])


def _is_once_for_each(rows: int, calls: DenseCalls) -> bool:
    """Return whether a layer was called once, outside of loops, on these rows, with or without their mirror images."""
    if len(calls.inputs) != 1 or len(calls.sums) != 1:
        return False
    [inputs] = calls.inputs
    outside = tf.executing_eagerly() or inputs.graph is tf.compat.v1.get_default_graph()
    return outside and inputs.shape.rank == 2 and inputs.shape[0] in (rows, 2 * rows)
