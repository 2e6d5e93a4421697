"""`roofline`: compare a Fisher-vector product with the matrix products that it cannot avoid."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence

import tensorflow as tf

from benchmarks.timing import Measurement, Table, in_turns, seconds
from tf_trpo.distributions import Gaussian
from tf_trpo.estimation import Batch
from tf_trpo.models import Encoder, Policy, mlp
from tf_trpo.optimizers.objective import Objective

OBSERVATION_SIZE, NUM_ACTIONS = 17, 6
"""Sizes of HalfCheetah-v5."""
PRODUCTS = 16
"""Number of products in one compiled call: as in a policy step with 15 conjugate gradient iterations."""


@dataclasses.dataclass(frozen=True)
class Roofline(Measurement):
    """Compare the time of a Fisher-vector product with that of the matrix products that it cannot avoid."""

    hidden_sizes: tuple[int, ...] = (64, 256)
    """Sizes n of networks with two layers of n units."""
    samples: tuple[int, ...] = (2048, 20_000)
    """Sizes of the batches."""

    def tables(self) -> list[Table]:
        rows = []
        for size, samples in itertools.product(self.hidden_sizes, self.samples):
            workloads = {
                "fisher": _fisher_vector_products((size, size), samples),
                "matrix": _matrix_products((OBSERVATION_SIZE, size, size, NUM_ACTIONS), samples),
            }
            fisher, matrix = in_turns(workloads, self.repeats).values()
            rows.append(
                {
                    "network": f"{size}-{size}",
                    "samples": samples,
                    "Fisher-vector product, ms": fisher.times(1e3),
                    "bare matrix products, ms": matrix.times(1e3),
                    "ratio": fisher.median / matrix.median,
                }
            )
        return [("Fisher-vector product against the matrix products in it", rows)]


def random_policy_and_batch(hidden_sizes: Sequence[int], samples: int) -> tuple[Policy, Batch]:
    """Make a Gaussian policy for HalfCheetah's spaces, and a batch of random samples."""
    network = mlp((OBSERVATION_SIZE,), hidden_sizes, seed=1)
    bounds = [-1.0] * NUM_ACTIONS, [1.0] * NUM_ACTIONS
    policy = Policy(Encoder((OBSERVATION_SIZE,), NUM_ACTIONS, network=network, seed=2), Gaussian(*bounds))
    observations = tf.random.stateless_normal([samples, OBSERVATION_SIZE], [0, 1])
    actions = policy.act(observations, policy.action_distribution.noise([samples], tf.constant([0, 2])))
    advantages = tf.random.stateless_normal([samples], [0, 3])
    return policy, Batch(observations, actions, advantages, tf.fill([samples], 1 / samples))


def _fisher_vector_products(hidden_sizes: Sequence[int], samples: int) -> Callable[[], float]:
    policy, batch = random_policy_and_batch(hidden_sizes, samples)

    @tf.function(jit_compile=True, autograph=False)
    def run(vector: tf.Tensor) -> tf.Tensor:
        theta = policy.flat_weights
        product = Objective(policy, batch, theta).fisher_vector_product()
        # Each vector depends on the product before it, so the compiler cannot omit a product; 0.1 v keeps the size.
        return _repeated(lambda v: product(v) + 0.1 * v, vector)

    vector = tf.ones([sum(variable.value.shape.num_elements() for variable in policy.trainable_variables)])
    return lambda: seconds(lambda: run(vector).numpy()) / PRODUCTS


def _matrix_products(sizes: Sequence[int], samples: int) -> Callable[[], float]:
    """Prepare the products X dW + dX W (forward mode) and X' D, D W' (reverse mode) of each layer, and nothing else."""
    kernels = [
        tf.random.stateless_normal(shape, [1, i]) / shape[0] for i, shape in enumerate(itertools.pairwise(sizes))
    ]
    inputs = [tf.random.stateless_normal([samples, size], [2, size]) for size in sizes[:-1]]

    def product(tangents: list[tf.Tensor]) -> list[tf.Tensor]:
        signal = inputs[0] @ tangents[0]
        for i in range(1, len(kernels)):
            signal = inputs[i] @ tangents[i] + signal @ kernels[i]
        gradients: list[tf.Tensor] = []
        for i in reversed(range(len(kernels))):
            gradients.insert(0, tf.matmul(inputs[i], signal, transpose_a=True) / samples)
            if i:
                signal = tf.matmul(signal, kernels[i], transpose_b=True)
        return gradients

    @tf.function(jit_compile=True, autograph=False)
    def run(tangents: list[tf.Tensor]) -> tf.Tensor:
        return _repeated(product, tangents)[0]

    return lambda: seconds(lambda: run(kernels).numpy()) / PRODUCTS


def _repeated(function: Callable[[tf.Tensor], tf.Tensor], start: tf.Tensor) -> tf.Tensor:
    return tf.while_loop(lambda i, _: i < PRODUCTS, lambda i, x: (i + 1, function(x)), [tf.constant(0), start])[1]
