"""Three whole updates against figures on record: what a change for speed must leave as it is.

The record is written by `python tests/training/test_golden_iteration.py`; that the figures are right is
for the other tests to say.
"""

import functools
import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_trpo.distributions import Categorical, Gaussian
from tf_trpo.models import Encoder, Policy, RunningReturnScale, ValueFunction, mlp
from tf_trpo.optimizers import NaturalDirection, TrustRegion
from tf_trpo.rollouts import Rollout
from tf_trpo.training import UpdateSettings
from tf_trpo.training.learner import Learner
from tf_trpo.training.metrics import update_logs

RECORD = Path(__file__).with_name("golden_iteration.json")
T, B, SIZE = 64, 4, 5


def wave(*shape, phase):
    """The same numbers on every machine and in every version of NumPy."""
    return np.sin(1.3 * np.arange(np.prod(shape)) ** 1.1 + phase).reshape(shape)


def make_policy(kind):
    if kind == "categorical":
        distribution = Categorical(3)
    else:
        distribution = Gaussian([-1.0, -1.0], [1.0, 1.0], state_dependent_std=kind == "state-dependent-std")
    policy = Policy(Encoder((SIZE,), distribution.num_outputs, network=mlp((SIZE,), (16, 16))), distribution)
    policy.set_weights([_initial(weight, position) for position, weight in enumerate(policy.weights)])
    return policy


def _initial(variable, position):
    return 0.3 * wave(*variable.shape, phase=position) if variable.trainable else variable.numpy()


def make_rollout(policy, iteration):
    observations = wave(T + 1, B, SIZE, phase=iteration)
    valid = wave(T, B, phase=iteration + 0.1) > -0.9
    ended = wave(T, B, phase=iteration + 0.2) > 0.9
    timeout = wave(T, B, phase=iteration + 0.3) > 0
    noise = wave(T * B, 3 if isinstance(policy.action_distribution, Categorical) else 2, phase=iteration + 0.4)
    flat = tf.constant(observations[:-1].reshape(T * B, SIZE), tf.float32)
    actions = policy.act(flat, tf.constant(noise, tf.float32)).numpy()
    return Rollout(
        observations.astype(np.float32),
        actions.reshape(T, B, *actions.shape[1:]),
        wave(T, B, phase=iteration + 0.5) * valid,
        ended & ~timeout & valid,
        ended & timeout & valid,
        valid,
    )


@functools.cache
def three_updates(kind, jit_compile=False, eagerly=False, **settings):
    """Metrics of the third update, and a figure of the weights that all three led to."""
    policy = make_policy(kind)
    value_function = ValueFunction(Encoder((SIZE,), 1, network=mlp((SIZE,), (16, 16)), function_preserving=False))
    value_function.set_weights([_initial(weight, position) for position, weight in enumerate(value_function.weights)])
    optimizer = keras.optimizers.Adam(1e-3)
    optimizer.build(value_function.trainable_variables)
    # One minibatch an epoch: the order of its samples is of no account.
    settings = UpdateSettings(value_epochs=5, value_minibatch_size=T * B, **settings)
    # Well conditioned and with a count of its own: processors round differently, and with little damping 1e-7 in the
    # observations is 1e-3 in a step, or an iteration of conjugate gradient more.
    direction = NaturalDirection(cg_damping=1.0, cg_iterations=6, cg_tolerance=0.0)
    optimizers = TrustRegion(direction=direction), optimizer
    learner = Learner(policy, value_function, RunningReturnScale(), *optimizers, settings, jit_compile=jit_compile)
    carry = tf.zeros([B])
    tf.config.run_functions_eagerly(eagerly)
    for iteration in range(3):
        orders, progress = np.tile(np.arange(T * B), (5, 1)), tf.constant(0.0, tf.float64)
        result, carry = learner.update(make_rollout(policy, iteration), carry, orders, progress)
    tf.config.run_functions_eagerly(False)
    figures = update_logs(result)
    for name, model in (("policy", policy), ("value_function", value_function)):
        weights = np.concatenate([weight.numpy().ravel() for weight in model.trainable_variables])
        figures[name] = float(np.dot(weights, wave(len(weights), phase=0)))
    return figures


@pytest.mark.parametrize("kind", ["categorical", "fixed-std", "state-dependent-std"])
def test_updates_give_the_figures_on_record(kind):
    assert_on_record(kind, three_updates(kind))


def test_updates_in_chunks_give_the_figures_on_record():
    assert_on_record("fixed-std", three_updates("fixed-std", chunk_size=50))


def test_xla_gives_the_figures_on_record():
    assert_on_record("fixed-std", three_updates("fixed-std", jit_compile=True))


@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_compiled_update_fits_the_value_function_first_if_told_to(jit_compile):
    """Step by step, nothing can come out of turn."""
    expected = three_updates("fixed-std", eagerly=True, value_function_first=True)
    figures = three_updates("fixed-std", jit_compile, value_function_first=True)
    assert figures["policy"] == pytest.approx(expected["policy"], abs=1e-3)
    assert abs(figures["policy"] - three_updates("fixed-std")["policy"]) > 0.01


def assert_on_record(kind, figures):
    expected = json.loads(RECORD.read_text())[kind]
    assert figures.keys() >= expected.keys()
    for name, value in expected.items():
        assert figures[name] == pytest.approx(value, rel=1e-3, abs=1e-6), name


if __name__ == "__main__":
    kinds = ("categorical", "fixed-std", "state-dependent-std")
    RECORD.write_text(json.dumps({kind: three_updates(kind) for kind in kinds}, indent=1) + "\n")
