"""A learning rate that falls in each fit, as Keras' optimizers and files see it."""

import keras
import numpy as np
import pytest

import tf_trpo
from tf_trpo.training import LinearDecayRestarts


@pytest.mark.parametrize("decay_steps", [1, 3, 8])
def test_it_falls_linearly_and_begins_anew(decay_steps):
    schedule = LinearDecayRestarts(0.5, decay_steps)
    expected = [0.5 * (decay_steps - taken) / decay_steps for _ in range(3) for taken in range(decay_steps)]
    np.testing.assert_allclose([schedule(step) for step in range(3 * decay_steps)], expected, rtol=1e-6)


def test_it_counts_beyond_what_a_float32_can():
    assert float(LinearDecayRestarts(1.0, 4)(2**40 + 3)) == 0.25


@pytest.mark.parametrize(("rate", "steps"), [(0.0, 3), (-1.0, 3), (float("nan"), 3), (float("inf"), 3), (0.1, 0)])
def test_a_rate_that_falls_nowhere_is_refused(rate, steps):
    with pytest.raises(ValueError, match="must be"):
        LinearDecayRestarts(rate, steps)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_every_fit_of_an_agent_begins_with_the_initial_rate(jit_compile, tmp_path):
    """64 samples in minibatches of 20 make 4 steps an epoch."""
    agent = tf_trpo.TRPO.for_env("CartPole-v1", hidden_sizes=[4], value_hidden_sizes=[], seed=0)
    agent.compile(
        value_optimizer=keras.optimizers.SGD(LinearDecayRestarts(0.1, 8)),
        jit_compile=jit_compile,
        value_epochs=2,
        value_minibatch_size=20,
    )
    agent.fit("CartPole-v1", 128, num_envs=2, num_steps=32, verbose=0)
    iterations = int(agent.iterations.numpy())
    assert int(agent.optimizer.iterations.numpy()) == 8 * iterations
    assert float(agent.optimizer.learning_rate) == pytest.approx(0.1)
    agent.save(tmp_path / "agent.keras")
    loaded = tf_trpo.load(tmp_path / "agent.keras")
    assert loaded.optimizer.get_config() == agent.optimizer.get_config()


def test_by_it_a_regression_ends_nearer_to_its_solution_than_by_a_constant_rate():
    """Minibatches of a noisy problem: with a constant rate the weights keep jumping about the least squares."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(512, 3))
    targets = inputs @ [1.0, -2.0, 0.5] + rng.normal(size=512)
    wanted = np.linalg.lstsq(inputs, targets, rcond=None)[0]
    errors = {}
    for name, rate in (("constant", 0.05), ("falling", LinearDecayRestarts(0.05, 10 * 64))):
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, use_bias=False)])
        model.compile(keras.optimizers.SGD(rate), "mse")
        model.fit(inputs, targets, epochs=10, batch_size=8, verbose=0, shuffle=False)
        errors[name] = np.linalg.norm(model.get_weights()[0][:, 0] - wanted)
    assert errors["falling"] < errors["constant"] / 3
