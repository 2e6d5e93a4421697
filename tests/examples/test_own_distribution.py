"""The example of your own action distribution: it trains, stays within the bounds, and can be saved."""

import numpy as np
import tensorflow as tf

import tf_trpo
from examples import own_distribution
from tf_trpo.learning import UpdateSettings


def test_it_improves_within_the_trust_region_and_is_saved(tmp_path):
    agent = own_distribution.make_agent("Pendulum-v1")
    agent.compile(update=UpdateSettings(value_epochs=1), jit_compile=False)
    logs = agent.fit("Pendulum-v1", 200, num_envs=2, num_steps=50, verbose=0).history
    assert set(logs["train/line_search_status"]) == {0}
    assert all(0.01 < kl <= 0.02 for kl in logs["train/kl_divergence_loss"])
    observations = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
    sampled = agent.predict(observations, stochastic=True)
    assert 1.0 < np.abs(sampled).max() < 2.0
    agent.save(tmp_path / "agent.keras")
    loaded = tf_trpo.load(tmp_path / "agent.keras")
    np.testing.assert_array_equal(loaded.predict(observations), agent.predict(observations))


def test_its_density_is_that_of_the_samples():
    beta = own_distribution.Beta([-2.0], [2.0])
    parameters = beta.parameters(tf.constant(np.tile(np.float32([0.5, -1.0]), [5000, 1])))
    actions = beta.sample(parameters, beta.noise([5000], tf.constant([1, 2]))).numpy()
    counts, edges = np.histogram(actions, bins=8, range=(0, 1))
    middles = np.float32(0.5 * (edges[1:] + edges[:-1]))[:, None]
    expected = 5000 / 8 * np.exp(beta.log_prob(parameters[:8], middles))
    np.testing.assert_allclose(counts, expected, atol=5 * np.sqrt(5000 / 8))
