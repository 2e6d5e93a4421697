"""One Fisher-vector product against the matrix products that it cannot avoid."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import tensorflow as tf

from tf_trpo.cli.benchmark.timing import Measured, in_turns, seconds
from tf_trpo.distributions import Gaussian
from tf_trpo.estimation import Batch
from tf_trpo.models import Encoder, Policy, mlp
from tf_trpo.optimizers.objective import Objective

OBSERVATION_SIZE, NUM_ACTIONS = 17, 6
"""Those of HalfCheetah-v5."""
PRODUCTS = 16
"""In one compiled call: those of a policy step with 15 conjugate gradient iterations."""


def fisher_against_matrix_products(
    hidden_sizes: Sequence[int], samples: int, repeats: int
) -> tuple[Measured, Measured]:
    """Seconds of one Fisher-vector product, and of its bare matrix products, in turns."""
    workloads = {
        "fisher": _fisher_vector_products(hidden_sizes, samples),
        "matrix": _matrix_products((OBSERVATION_SIZE, *hidden_sizes, NUM_ACTIONS), samples),
    }
    measured = in_turns(workloads, repeats)
    return measured["fisher"], measured["matrix"]


def random_policy_and_batch(hidden_sizes: Sequence[int], samples: int) -> tuple[Policy, Batch]:
    """A Gaussian policy in HalfCheetah's spaces, and random samples of it."""
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
        # The next vector depends on the product, so that none can be left out, and stays of its size.
        return _repeated(lambda v: product(v) + 0.1 * v, vector)

    vector = tf.ones([sum(variable.value.shape.num_elements() for variable in policy.trainable_variables)])
    return lambda: seconds(lambda: run(vector).numpy()) / PRODUCTS


def _matrix_products(sizes: Sequence[int], samples: int) -> Callable[[], float]:
    """Forward mode X dW + dX W, and reverse mode X' D and D W', for each layer: no activations, no biases."""
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
