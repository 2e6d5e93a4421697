"""`vine`: noise of policy gradients from single paths and from branches, at equal numbers of environment steps."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import tensorflow as tf

import tf_trpo
from benchmarks.timing import Row, Table, Tables
from tf_trpo.distributions import Categorical
from tf_trpo.environments import make_vector_environment
from tf_trpo.environments.restoring import Restorable, check_restorable
from tf_trpo.environments.vector import Environment
from tf_trpo.estimation import branch_advantages
from tf_trpo.rollouts import make_actor
from tf_trpo.training import TRPO

GAMMA = 0.99
Paths = np.ndarray
"""Array by state, repetition and branch, float64 [M, R, K, ...]."""


@dataclasses.dataclass(frozen=True)
class Vine(Tables):
    """Estimate the policy gradient of the same states many times, from single paths and from branches.

    The gradient of a state is the mean over its actions of advantage times score; the score is the gradient of log
    pi(a|s) with respect to the parameters of the action distribution. In each repetition, all actions, their noise and
    the environment's generator `np_random` are drawn again. Variances are summed over the parameters. The noise of an
    estimate is its variance over the repetitions, as a mean over the states; the spread is the variance of its
    expectation over the states. Both are divided by the noise of a single path by GAE(0.95). At equal environment
    steps, the variance of a mean over independent states is proportional to (noise + spread) times steps, here divided
    by that of GAE(0.95). Its 80% interval is by bootstrap over the states. Bias is not measured.
    """

    envs: tuple[str, ...] = ("CartPole-v1", "Hopper-v5")
    """Gymnasium ids."""
    train_steps: tuple[int, ...] = (15_000, 50_000)
    """Environment steps of the training of the policy and the value function, for each environment."""
    states: int = 96
    """Number of states, taken from episodes of the policy."""
    repetitions: int = 8
    """Number of estimates of each gradient."""
    actions: int = 4
    """Number of actions that are drawn in a state."""
    lengths: tuple[int, ...] = (8, 32)
    """Largest numbers of steps of a branch."""
    horizon: int = 128
    """Largest number of steps of a single path; the value function estimates the return after it."""
    seed: int = 0
    """Seed of the training, the states and the noise."""

    def tables(self) -> list[Table]:
        return [self._table(*each) for each in zip(self.envs, self.train_steps, strict=True)]

    def _table(self, env: str, train_steps: int) -> Table:
        agent = TRPO.for_env(env, seed=self.seed)
        agent.compile(update=tf_trpo.learning.UpdateSettings(gamma=GAMMA))
        agent.fit(env, train_steps, num_envs=4, num_steps=512, seed=self.seed, verbose=0)
        with contextlib.closing(Player(agent, env, self)) as player:
            played = player.played()
        common = played["common noise"]
        usual = gradients_of(common, _gae(common, 0.95)[..., None])
        rng = np.random.default_rng(self.seed)
        resamples = [slice(None), *rng.integers(self.states, size=(1000, self.states))]
        totals = np.array([sum(variances_of(usual[rows])) for rows in resamples])

        def row(name: str, gradients: np.ndarray, steps: float) -> Row:
            noise, spread = np.array(variances_of(gradients)) / variances_of(usual)[0]
            found, *others = np.array([sum(variances_of(gradients[rows])) for rows in resamples]) * steps / totals
            low, high = np.percentile(others, [10, 90])
            figures = {"noise": noise, "spread": spread, "variance at equal steps": found}
            return {"estimate": name, "steps of a state": steps, **figures, "80% interval": f"{low:.2g} to {high:.2g}"}

        rows = [
            row(f"single path, GAE({gae_lambda})", gradients_of(common, _gae(common, gae_lambda)[..., None]), 1.0)
            for gae_lambda in (0.95, 1.0)
        ]
        for length in self.lengths:
            for kind, paths in played.items():
                steps = np.minimum(paths.lengths, length).sum(axis=-1).mean()
                gradients = gradients_of(paths, _of_branches(paths, length))
                rows.append(row(f"branches of {length}, {kind}", gradients, steps))
        return f"Gradients of {self.states} states of {env} after {train_steps} steps of training", rows


class Played(NamedTuple):
    """K branches from each of M states, R times; the first may be longer than the others.

    Attributes:
      rewards: [M, R, K, L].
      values: V after l steps, in the unit of the rewards, [M, R, K, L + 1].
      lengths: numbers of steps, [M, R, K].
      terminated: whether the last step ended the episode in a terminal state, [M, R, K].
      scores: gradients of log pi of the first actions, [M, R, K, D].
      probabilities: of the first actions if each action is tried, [M, R, K]; None if they were drawn.
    """

    rewards: Paths
    values: Paths
    lengths: Paths
    terminated: Paths
    scores: Paths
    probabilities: Paths | None


class Player:
    """Plays an agent's environment repeatedly from the same states."""

    def __init__(self, agent: TRPO, env: Environment, settings: Vine) -> None:
        self._settings, self._agent = settings, agent
        self._environments = make_vector_environment(env, 1)
        self._env: gym.Env = self._environments.envs[0]  # type: ignore[attr-defined]
        check_restorable(self._env)
        self._actor = make_actor(agent.policy, 1)
        self._rng = np.random.default_rng(settings.seed)
        self._at = Restorable(self._env)
        self._unit = 1.0 / float(agent.return_scale(tf.constant(1.0)))

    def close(self) -> None:
        """Close the environment."""
        self._environments.close()

    def played(self) -> dict[str, Played]:
        """Return the paths of each kind of branches; the first path of a state and repetition is `horizon` steps long.

        Each action is tried in spaces of numbered actions only.
        """
        distribution = self._agent.policy.action_distribution
        tried = range(distribution.num_actions) if isinstance(distribution, Categorical) else []
        found: dict[str, list[Any]] = {"own noise": [], "common noise": []} | ({"all actions": []} if tried else {})
        observation, _ = self._env.reset(seed=self._settings.seed)
        for _ in range(self._settings.states):
            observation = self._walked(observation, int(self._rng.integers(5, 60)))
            self._at.save()
            for _ in range(self._settings.repetitions):
                noise, seed = self._noise(self._settings.horizon), self._seed()
                later = noise[1 : max(self._settings.lengths)]
                path = self._path(observation, noise[:1], noise[1:], seed)
                for paths in (found["own noise"], found["common noise"]):
                    paths.append(path)
                for first in self._noise(self._settings.actions - 1)[:, None]:
                    found["common noise"].append(self._path(observation, first, later, seed))
                    own = self._noise(len(later) + 1)[1:]
                    found["own noise"].append(self._path(observation, first, own, self._seed()))
                for action in tried:
                    found["all actions"].append(self._path(observation, action, later, seed))
        return {kind: self._arranged(paths, kind == "all actions") for kind, paths in found.items()}

    def _arranged(self, paths: list[Any], tries_all: bool) -> Played:
        policy, shape = self._agent.policy, (self._settings.states, self._settings.repetitions)
        count = len(paths) // (shape[0] * shape[1])
        rewards, rows, lengths, terminated, actions = (np.array(part) for part in zip(*paths, strict=True))
        values = [
            self._agent.value_function(tf.constant(part.reshape(-1, *part.shape[2:]))).numpy() * self._unit
            for part in np.array_split(rows, self._settings.states)
        ]
        parameters = policy.distribution_parameters(tf.constant(rows[:, 0]))
        with tf.GradientTape() as tape:
            tape.watch(parameters)
            log_prob = policy.action_distribution.log_prob(parameters, tf.constant(actions))
        scores = tape.gradient(log_prob, parameters).numpy()
        parts = rewards, np.reshape(values, rows.shape[:2]), lengths, terminated, scores, np.exp(log_prob)
        played = Played(*(part.reshape(*shape, count, *part.shape[1:]) for part in parts))
        return played if tries_all else played._replace(probabilities=None)

    def _noise(self, steps: int) -> np.ndarray:
        seed = tf.constant(self._rng.integers(2**31, size=2).astype(np.int32))
        return self._agent.policy.action_distribution.noise([steps], seed).numpy()

    def _seed(self) -> int:
        return int(self._rng.integers(2**31))

    def _walked(self, observation: Any, steps: int) -> Any:
        """Take some more steps, in a new episode if one ends, and return the last observation."""
        for noise in self._noise(steps):
            action = self._actor(np.asarray(observation)[None], noise[None]).environment[0]
            observation, _, terminated, truncated, _ = self._env.step(action)
            if terminated or truncated:
                observation, _ = self._env.reset()
        return np.array(observation)

    def _path(self, observation: Any, first: Any, later: np.ndarray, seed: int) -> tuple[Any, ...]:
        """Play a path, and restore the state.

        Args:
          observation: of the state.
          first: noise [1, ...] of the first action, or its number.
          later: noise of the later actions.
          seed: of the environment's noise.

        Returns:
          Rewards [L], observations [L + 1, ...], the number of steps, whether a terminal state was reached, and the
          first action as sampled. L is the horizon.
        """
        # The saved state holds a generator too, so without a new one, the noise would be the same in all paths.
        self._env.unwrapped.np_random = np.random.default_rng(seed)
        horizon = self._settings.horizon
        rewards, seen, terminated = np.zeros(horizon), [np.array(observation)], False
        if isinstance(first, int):
            sampled = np.array([first], np.int32)
            given = self._actor.for_environment(sampled)
        else:
            sampled, given, _ = self._actor(seen[0][None], first)
        for step in range(len(later) + 1):
            if step:
                given = self._actor(seen[-1][None], later[step - 1][None]).environment
            observation, rewards[step], terminated, truncated, _ = self._env.step(given[0])
            seen.append(np.array(observation))
            if terminated or truncated:
                break
        self._at.restore()
        length = len(seen) - 1
        rows = np.stack(seen + [seen[-1]] * (horizon - length)).astype(np.float32)
        return rewards, rows, length, bool(terminated), np.array(sampled[0])


def gradients_of(paths: Played, advantages: Paths) -> np.ndarray:
    """Compute gradients [M, R, D] from the advantages [M, R, K'] of the first K' branches."""
    count = advantages.shape[-1]
    weights = 1.0 / count if paths.probabilities is None else paths.probabilities
    # As training does by default.
    advantages = advantages - (weights * advantages).sum(axis=-1).mean()
    gradients: np.ndarray = ((weights * advantages)[..., None] * paths.scores[:, :, :count]).sum(axis=2)
    return gradients


def variances_of(gradients: np.ndarray) -> tuple[float, float]:
    """Compute the noise and the spread of gradients [M, R, D]."""
    noise = gradients.var(axis=1, ddof=1).sum(axis=-1).mean()
    # The means over R repetitions still have noise.
    spread = gradients.mean(axis=1).var(axis=0, ddof=1).sum() - noise / gradients.shape[1]
    return float(noise), max(0.0, float(spread))


def _of_branches(paths: Played, length: int) -> Paths:
    """Compute the advantages [M, R, K] of branches of at most `length` steps."""
    returns = _discounted(paths, length)
    flat = (
        None if part is None else tf.constant(part.reshape(-1, part.shape[-1]), tf.float64)
        for part in (returns, paths.probabilities)
    )
    return branch_advantages(*flat).numpy().reshape(returns.shape)


def _discounted(paths: Played, length: int) -> Paths:
    """Compute the discounted returns [M, R, K] of at most `length` steps, bootstrapped with V."""
    steps = np.minimum(paths.lengths, length)
    last = np.take_along_axis(paths.values, steps[..., None], axis=-1)[..., 0]
    ended = paths.terminated & (paths.lengths <= length)
    return paths.rewards[..., :length] @ GAMMA ** np.arange(length) + GAMMA**steps * np.where(ended, 0.0, last)


def _gae(paths: Played, gae_lambda: float) -> Paths:
    """Compute the generalised advantage estimates [M, R] of the first actions from the first branch alone."""
    values, steps = paths.values[:, :, 0], np.arange(paths.rewards.shape[-1])
    last = steps == paths.lengths[:, :, 0, None] - 1
    following = np.where(last & paths.terminated[:, :, 0, None], 0.0, values[..., 1:])
    deltas = paths.rewards[:, :, 0] + GAMMA * following - values[..., :-1]
    counts = steps < paths.lengths[:, :, 0, None]
    return (np.where(counts, deltas, 0.0) * (GAMMA * gae_lambda) ** steps).sum(axis=-1)
