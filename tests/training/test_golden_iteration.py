"""Three whole updates against figures on record: what a change for speed must leave as it is.

The record is written by `python tests/training/test_golden_iteration.py`. Other tests check that the figures are right.
"""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_trpo.distributions import Categorical, Gaussian
from tf_trpo.learning import UpdateSettings
from tf_trpo.learning.critic import Critic
from tf_trpo.learning.learner import Learner
from tf_trpo.models import Encoder, Policy, RunningReturnScale, ValueFunction, mlp
from tf_trpo.optimizers import NaturalDirection, TrustRegion, VanillaPolicyGradient
from tf_trpo.rollouts import Rollout
from tf_trpo.training.metrics import update_logs

# As users have it.
pytestmark = pytest.mark.grappler
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
    encoder = Encoder((SIZE,), distribution.num_outputs, network=mlp((SIZE,), (16, 16)))
    return begun(Policy(encoder, distribution))


def begun(model):
    """Weights that are known, and statistics of hardly any sample that change no observation."""
    [normalization] = model.encoder.normalization
    # The numbers of the weights on record.
    counted = [weight for weight in model.weights if weight.name not in ("scale", "limit")]
    for position, variable in enumerate(counted):
        if variable.trainable:
            variable.assign(0.3 * wave(*variable.shape, phase=position))
    normalization.count.assign(1e-30)
    normalization.limit.assign(normalization.clip)
    return model


def make_rollout(policy, iteration):
    observations = wave(T + 1, B, SIZE, phase=iteration)
    ended = wave(T, B, phase=iteration + 0.2) > 0.9
    timeout = wave(T, B, phase=iteration + 0.3) > 0
    valid = np.ones((T, B), bool)
    for t in range(1, T):
        valid[t] = ~(ended[t - 1] & valid[t - 1])
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


def make_learner(kind, *optimizers, jit_compile=False, **settings):
    policy = make_policy(kind)
    value_function = begun(
        ValueFunction(Encoder((SIZE,), 1, network=mlp((SIZE,), (16, 16)), function_preserving=False))
    )
    optimizers[1].build(value_function.trainable_variables)
    # One minibatch an epoch: the order of its samples does not matter.
    settings = UpdateSettings(value_epochs=5, value_minibatch_size=T * B, **settings)
    critic = Critic(value_function, RunningReturnScale(), optimizers[1])
    return Learner(policy, [critic], optimizers[0], settings, jit_compile=jit_compile)


def updates_of(learner, count=3):
    """For each update, its metrics and a figure of the weights that it led to."""
    carry, updates = learner.first_carry(B), []
    for iteration in range(count):
        orders, progress = np.tile(np.arange(T * B), (5, 1)), tf.constant(0.0, tf.float64)
        result, carry = learner.update(make_rollout(learner.policy, iteration), carry, orders, progress)
        updates.append({name: float(figure) for name, figure in update_logs(result).items()})
        for name, model in (("policy", learner.policy), ("value_function", learner._critics[0].value_function)):
            weights = np.concatenate([weight.numpy().ravel() for weight in model.trainable_variables])
            updates[-1][name] = float(np.dot(weights, wave(len(weights), phase=0)))
    return updates


def golden_learner(kind, **settings):
    # Well conditioned and with a count of its own: processors round differently, and with little damping 1e-7 in the
    # observations is 1e-3 in a step, or an iteration of conjugate gradient more.
    direction = NaturalDirection(cg_damping=1.0, cg_iterations=6, cg_tolerance=0.0)
    return make_learner(kind, TrustRegion(0.01, direction=direction), keras.optimizers.Adam(1e-3), **settings)


def test_updates_give_the_figures_on_record_by_stages_that_share_no_variable():
    """The stages run at the same time."""
    learner = golden_learner("categorical")
    assert_on_record("categorical", updates_of(learner))
    touched = []
    for stage in (learner.improve_policy, learner.fit_value_functions):
        (function,) = stage._list_all_concrete_functions()
        touched.append({id(tensor) for tensor in function.captured_inputs if tensor.dtype == "resource"})
    assert min(map(len, touched)) >= 6
    assert touched[0].isdisjoint(touched[1])


def test_updates_in_chunks_give_the_figures_on_record():
    assert_on_record("state-dependent-std", updates_of(golden_learner("state-dependent-std", chunk_size=50)))


def test_xla_gives_the_figures_on_record_and_the_same_bits_again():
    learner = golden_learner("fixed-std", jit_compile=True)
    start, updates = learner.state(), updates_of(learner)
    assert_on_record("fixed-std", updates)
    learner.restore(start)
    assert updates_of(learner) == updates


@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_compiled_update_fits_the_value_function_first_if_told_to(jit_compile):
    """Step by step, nothing can come out of turn."""

    def policy_of(first, eagerly=False):
        optimizers = VanillaPolicyGradient("sgd", 10.0), keras.optimizers.SGD(0.3)
        compiled = jit_compile and not eagerly
        learner = make_learner("categorical", *optimizers, jit_compile=compiled, value_function_first=first)
        tf.config.run_functions_eagerly(eagerly)
        try:
            [figures] = updates_of(learner, 1)
        finally:
            tf.config.run_functions_eagerly(False)
        return figures["policy"]

    expected = policy_of(True, eagerly=True)
    assert policy_of(True) == pytest.approx(expected, abs=1e-3)
    assert abs(policy_of(False, eagerly=True) - expected) > 0.01


def assert_on_record(kind, updates):
    for number, (figures, expected) in enumerate(zip(updates, json.loads(RECORD.read_text())[kind], strict=True)):
        assert figures.keys() >= expected.keys()
        for name, value in expected.items():
            assert figures[name] == pytest.approx(value, rel=1e-3, abs=1e-6), (number, name)


if __name__ == "__main__":
    kinds = ("categorical", "fixed-std", "state-dependent-std")
    RECORD.write_text(json.dumps({kind: updates_of(golden_learner(kind)) for kind in kinds}, indent=1) + "\n")
