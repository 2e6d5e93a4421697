"""Define your own action distribution: Beta on a bounded box, so that actions are never clipped.

A Gaussian has probability beyond the bounds of the actions, a Beta distribution has none. One class defines how the
encoder's outputs become a TFP distribution. KL, Fisher matrix, entropy and sampling follow from it.

    python examples/own_distribution.py

Source:
  Chou et al. (2017), "Improving Stochastic Policy Gradients in Continuous Control with Deep Reinforcement
  Learning using the Beta Distribution".
"""

from __future__ import annotations

import argparse

import gymnasium as gym
import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

import tf_trpo
from tf_trpo.distributions import ActionDistribution
from tf_trpo.models import Encoder, Policy, ValueFunction


@keras.saving.register_keras_serializable(package="examples")
class Beta(ActionDistribution):
    """Independent Beta distributions on a box, with one mode each.

    Args:
      low: lower bounds of the actions, d of them.
      high: upper bounds.
    """

    def __init__(self, low: list[float], high: list[float], **kwargs: object) -> None:
        kwargs.pop("num_outputs", None)
        super().__init__(2 * len(low), **kwargs)
        self.low, self.high = low, high

    def parameters(self, outputs: tf.Tensor) -> tf.Tensor:
        """Compute two concentrations above 1 for each action."""
        return 1.0 + tf.nn.softplus(outputs)

    def distribution(self, parameters: tf.Tensor) -> tfp.distributions.Distribution:
        return tfp.distributions.Independent(tfp.distributions.Beta(*tf.split(parameters, 2, axis=-1)), 1)

    def to_environment(self, actions: tf.Tensor) -> tf.Tensor:
        low, high = np.asarray(self.low, np.float32), np.asarray(self.high, np.float32)
        return low + (high - low) * actions

    def get_config(self) -> dict[str, object]:
        return {**super().get_config(), "low": self.low, "high": self.high}


def make_agent(env_id: str, seed: int = 0) -> tf_trpo.TRPO:
    """Make an agent with a Beta policy for an environment with a bounded box of actions."""
    with gym.make(env_id) as environment:
        observations, actions = environment.observation_space.shape, environment.action_space
    assert observations is not None
    assert isinstance(actions, gym.spaces.Box)
    distribution = Beta(actions.low.tolist(), actions.high.tolist())
    policy = Policy(Encoder(observations, distribution.num_outputs, seed=seed), distribution)
    value_function = ValueFunction(Encoder(observations, 1, output_gain=1.0, function_preserving=False, seed=seed + 1))
    agent = tf_trpo.TRPO(policy, value_function)
    agent.compile(policy_optimizer=tf_trpo.optimizers.TrustRegion(max_kl=0.02))
    return agent


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100_000, help="environment steps")
    steps = parser.parse_args().steps
    agent = make_agent("Pendulum-v1")
    agent.fit("Pendulum-v1", steps, num_envs=4, num_steps=512, verbose=0)
    print(agent.evaluate("Pendulum-v1", episodes=10))
