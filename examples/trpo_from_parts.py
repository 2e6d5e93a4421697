"""Trust Region Policy Optimization built from its parts: Algorithm 1 of the lecture on CartPole-v1.

The comments number the lines of Algorithm 1. `tf_trpo.TRPO` adds normalisation, checkpoints, callbacks and more.

    python examples/trpo_from_parts.py --seed 0
"""

import argparse
from collections.abc import Callable
from typing import NamedTuple

import gymnasium as gym
import keras
import numpy as np
import tensorflow as tf

from tf_trpo import estimation, numerics
from tf_trpo.distributions import Categorical
from tf_trpo.models import Encoder, Policy, ValueFunction

# 2: Hyperparameters: KL-divergence limit delta (nats), backtracking coefficient alpha, number of backtracking steps K.
MAX_KL, RATIO, MAX_BACKTRACKS = 0.01, 0.8, 10
CG_ITERATIONS, DAMPING, GAMMA, LAMBDA = 10, 0.1, 0.99, 0.95
ITERATIONS, STEPS, ENVIRONMENTS = 25, 128, 16  # a set of trajectories has STEPS (T) rows and ENVIRONMENTS (B) columns
VALUE_EPOCHS, MINIBATCH_SIZE, LEARNING_RATE = 10, 128, 1e-3

Act = Callable[..., tf.Tensor]


class Trajectories(NamedTuple):
    """T steps in B environments, as arrays [T, B]; observations are [T + 1, B, 4]."""

    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    valid: np.ndarray


class Sampler:
    """Collects trajectories in Gymnasium environments; episodes continue from one set of trajectories to the next."""

    def __init__(self, seed: int) -> None:
        self.environments = gym.make_vec("CartPole-v1", num_envs=ENVIRONMENTS)
        self.observations, _ = self.environments.reset(seed=seed)
        self.ended = np.zeros(ENVIRONMENTS, bool)

    def collect(self, act: Act, noise: tf.Tensor) -> Trajectories:
        rows = []
        for row_noise in noise:
            # The step after the end of an episode only resets the environment, and is not a valid sample.
            observations, valid, actions = self.observations, ~self.ended, act(self.observations, row_noise).numpy()
            self.observations, rewards, terminated, truncated, _ = self.environments.step(actions)
            rows.append((observations, actions, *np.asarray([rewards, terminated, truncated, valid], np.float32)))
            self.ended = terminated | truncated
        observations, *columns = (np.stack(column) for column in zip(*rows, strict=True))
        return Trajectories(np.concatenate([observations, self.observations[None]]), *columns)


@tf.function(autograph=False)
def estimate(value_function: ValueFunction, trajectories: Trajectories) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Estimate rewards-to-go [N], normalised advantages [N], and the weights [N] of a mean over the valid samples."""
    observations, _, rewards, terminated, truncated, valid = trajectories
    values = tf.reshape(value_function(tf.reshape(observations, [-1, 4])), [STEPS + 1, ENVIRONMENTS])
    # Scaled by 1 - gamma, all returns lie in [0, 1], a good range for the value function.
    rows = ((1 - GAMMA) * rewards, values, terminated, truncated, valid)
    # 5: Compute rewards-to-go.
    returns = tf.reshape(estimation.rewards_to_go(*rows, gamma=GAMMA), [-1])
    # 6: Compute advantage estimates based on the current value function.
    advantages = tf.reshape(estimation.gae(*rows, gamma=GAMMA, gae_lambda=LAMBDA), [-1])
    weights = tf.reshape(valid / tf.reduce_sum(valid), [-1])
    return returns, estimation.normalize_advantages(advantages, weights), weights


@tf.function(autograph=False)
def improve(
    policy: Policy, observations: tf.Tensor, actions: tf.Tensor, advantages: tf.Tensor, weights: tf.Tensor
) -> numerics.LineSearchResult:
    """Take one step of the policy on N samples."""
    # A KL near 0 is a difference of nearly equal numbers, so everything after the network is computed in float64.
    advantages, weights = tf.cast(advantages, tf.float64), tf.cast(weights, tf.float64)
    distribution, theta = policy.action_distribution, policy.flat_weights

    def parameters(theta: tf.Tensor) -> tf.Tensor:
        return tf.cast(policy.parameters_at(theta, observations), tf.float64)

    old = tf.stop_gradient(parameters(theta))

    def evaluate(theta: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        new = parameters(theta)
        log_prob, old_log_prob = distribution.log_prob(new, actions), distribution.log_prob(old, actions)
        improvement = estimation.surrogate_improvement(log_prob, old_log_prob, advantages, weights)
        return improvement, estimation.weighted_mean(distribution.kl(old, new), weights)

    # 7: Estimate the policy gradient g, which is the gradient of the surrogate at theta_k.
    with tf.GradientTape() as tape:
        tape.watch(theta)
        surrogate, _ = evaluate(theta)
    g = tape.gradient(surrogate, theta)
    # 8: Use conjugate gradient to compute x ~ H^-1 g from products with the Hessian H of the KL.
    product = numerics.gauss_newton_fisher_vector_product(parameters, distribution.kl, theta, weights)
    found = numerics.conjugate_gradient(product, g, max_iterations=CG_ITERATIONS, damping=DAMPING)
    # 9: Update the policy by backtracking line search along sqrt(2 delta / x'Hx) x.
    step = numerics.step_length_for_kl(found.solution, found.image, MAX_KL) * found.solution
    search = numerics.backtracking_line_search(
        evaluate, theta, step, max_kl=MAX_KL, ratio=RATIO, max_backtracks=MAX_BACKTRACKS
    )
    policy.assign_flat_weights(search.theta)
    return search


def mean_return(act: Act, episodes: int, seed: int) -> float:
    """Return the mean return of episodes with the most likely actions."""
    environments = gym.make_vec("CartPole-v1", num_envs=episodes)
    observations, _ = environments.reset(seed=seed)
    total, running = 0.0, np.ones(episodes, bool)
    while running.any():
        observations, rewards, terminated, truncated, _ = environments.step(act(observations, None).numpy())
        total += rewards @ running
        running &= ~(terminated | truncated)
    return total / episodes


def main(seed: int) -> None:
    # 1: Input: initial policy parameters theta_0, initial value function parameters phi_0.
    keras.utils.set_random_seed(seed)
    policy = Policy(Encoder((4,), 2, normalize_observations=False), Categorical(2))
    value_function = ValueFunction(Encoder((4,), 1, normalize_observations=False, output_gain=1.0))
    value_function.compile(keras.optimizers.Adam(LEARNING_RATE), "mse", weighted_metrics=[])
    act, sampler = tf.function(policy.act), Sampler(seed)
    for k in range(ITERATIONS):  # 3: for k = 0, 1, 2, ... do
        # 4: Collect a set of trajectories by running the policy in the environment.
        trajectories = sampler.collect(act, policy.action_distribution.noise([STEPS, ENVIRONMENTS], [seed, k]))
        returns, advantages, weights = estimate(value_function, trajectories)  # 5 and 6
        observations = trajectories.observations[:-1].reshape(-1, 4)
        search = improve(policy, observations, trajectories.actions.ravel(), advantages, weights)  # 7 to 9
        # 10: Fit the value function by regression on the mean squared error.
        valid = trajectories.valid.ravel()
        value_function.fit(observations, returns, MINIBATCH_SIZE, VALUE_EPOCHS, verbose=0, sample_weight=valid)
        falls = trajectories.terminated.sum()
        print(f"{k + 1:2}: the pole fell {falls:2.0f} times, KL {search.kl:.4f}, {search.backtracks} backtracks")
    # 11: end for
    print(f"mean return of 100 episodes: {mean_return(act, 100, seed + 1):.1f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Learn CartPole-v1 by Algorithm 1.")
    parser.add_argument("--seed", type=int, default=0)
    main(parser.parse_args().seed)
