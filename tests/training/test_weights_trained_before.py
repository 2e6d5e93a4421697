"""An agent that learns on from weights that were trained before: the first statistics do not move its policy."""

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_trpo
from tf_trpo.learning import UpdateSettings
from tf_trpo.models.settings import PolicySettings
from tf_trpo.optimizers import TrustRegion

MAX_KL = 0.01


def demonstrations(steps=1000):
    """Observations [N, 4] of CartPole under a controller that holds the pole, and its actions [N]."""
    environment, rng = gym.make("CartPole-v1"), np.random.default_rng(0)
    observations, actions = [], []
    observation, _ = environment.reset(seed=0)
    for _ in range(steps):
        action = int(np.dot(observation, [0.1, 0.3, 2.0, 1.0]) > 0)
        observations.append(observation)
        actions.append(action)
        # Some other actions, so that more than one way is seen.
        taken = action if rng.random() > 0.2 else int(rng.integers(2))
        observation, _, terminated, truncated, _ = environment.step(taken)
        if terminated or truncated:
            observation, _ = environment.reset()
    return tf.constant(np.stack(observations)), tf.constant(actions, tf.int32)


def clone(policy, observations, actions, epochs=150):
    """Maximise the likelihood of the actions by a plain loop."""
    optimizer = keras.optimizers.Adam(0.01)
    optimizer.build(policy.trainable_variables)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(policy(observations).log_prob(actions))
        optimizer.apply_gradients(
            zip(tape.gradient(loss, policy.trainable_variables), policy.trainable_variables, strict=True)
        )

    for _ in range(epochs):
        step()


def log_probabilities(policy, observations):
    return tf.nn.log_softmax(tf.cast(policy.distribution_parameters(tf.constant(observations)), tf.float64)).numpy()


def functional():
    inputs = keras.Input((4,))
    return keras.Model(inputs, keras.layers.Concatenate()([inputs, keras.layers.Dense(16, "tanh")(inputs)]))


@pytest.mark.parametrize("network", [None, pytest.param(functional, marks=pytest.mark.slow)])
def test_a_cloned_policy_is_fitted_from_where_it_is(network, caplog):
    """Whether a layer can take the statistics in, or not; the latter is said once."""
    agent = tf_trpo.TRPO.for_env(
        "CartPole-v1",
        network=network and network(),
        policy=None if network else PolicySettings(hidden_sizes=(16,)),
        seed=0,
    )
    agent.compile(TrustRegion(MAX_KL), update=UpdateSettings(value_epochs=1), jit_compile=False)
    clone(agent.policy, *demonstrations())
    before = agent.evaluate("CartPole-v1", 2, seed=1)["mean_return"]
    assert before == 500
    seen = []
    keep = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(keep.params["trainer"].rollout))
    twin = agent.policy.__class__.from_config(agent.policy.get_config())
    twin.set_weights(agent.policy.get_weights())
    history = agent.fit("CartPole-v1", 1024, num_envs=4, num_steps=256, callbacks=[keep], verbose=0).history
    assert abs(history["train/normalization_kl"][0]) < 1e-6
    [rollout] = seen
    observations = rollout.observations[:-1][rollout.valid]
    old, new = (log_probabilities(policy, observations) for policy in (twin, agent.policy))
    kl = (np.exp(old) * (old - new)).sum(axis=1).mean()
    assert kl == pytest.approx(history["train/kl_divergence_loss"][0], rel=0.05, abs=1e-5)
    assert kl <= 1.05 * MAX_KL
    assert agent.evaluate("CartPole-v1", 2, seed=1)["mean_return"] >= before
    begun = [bool(layer.count.numpy()) for layer in agent.policy.encoder.normalization]
    assert begun == [network is None]
    said = [record.message for record in caplog.records if "observations are not normalised" in record.message]
    assert [line.split(" was")[0] for line in said] == ["the policy"] * (network is not None)
