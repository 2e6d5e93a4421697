"""`vine`: noise of advantages from single paths and from branches, at equal numbers of environment steps."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import tensorflow as tf

import tf_trpo
from benchmarks.timing import Row, Table, Tables
from tf_trpo.environments import make_vector_environment
from tf_trpo.environments.restoring import Restorable, check_restorable
from tf_trpo.rollouts import make_actor
from tf_trpo.training import TRPO

GAMMA = 0.99
Paths = np.ndarray
"""Array by state, repetition and branch, float64 [M, R, K, ...]."""


@dataclasses.dataclass(frozen=True)
class Vine(Tables):
    """Estimate the advantages of the same actions in the same states many times, from single paths and from branches.

    In each state, the first action is the same in all repetitions; the other actions and all noise are drawn again. So
    the variance over repetitions is the noise of an estimate. Noise and squared bias are divided by the variance of the
    advantages over the states. In a rollout, a single path gives an advantage for each of its steps, and a branch gives
    one for all its steps. So at equal environment steps, the variance of a mean over samples is proportional to noise
    times steps.
    """

    envs: tuple[str, ...] = ("CartPole-v1", "Hopper-v5")
    """Gymnasium ids."""
    train_steps: tuple[int, ...] = (15_000, 100_000)
    """Environment steps of the training of the policy and the value function, for each environment."""
    states: int = 24
    """Number of states, taken from episodes of the policy."""
    repetitions: int = 32
    """Number of estimates of each advantage."""
    actions: int = 4
    """Number of actions tried in a state."""
    lengths: tuple[int, ...] = (8, 32, 128)
    """Largest numbers of steps of a branch."""
    horizon: int = 250
    """Largest number of steps of a single path; the value function estimates the return after it."""
    seed: int = 0
    """Seed of the training, the states and the noise."""

    def tables(self) -> list[Table]:
        return [self._table(*each) for each in zip(self.envs, self.train_steps, strict=True)]

    def _table(self, env: str, train_steps: int) -> Table:
        agent = TRPO.for_env(env, seed=self.seed)
        agent.compile(update=tf_trpo.training.UpdateSettings(gamma=GAMMA))
        agent.fit(env, train_steps, num_envs=4, num_steps=512, seed=self.seed, verbose=0)
        common, apart = _Player(agent, env, self).played()
        reference = _less_others(_discounted(common, self.horizon)).mean(axis=1)
        signal = reference.var()

        def row(name: str, advantages: Paths, steps: float) -> Row:
            noise = advantages.var(axis=1, ddof=1).mean() / signal
            # Normalised advantages have the mean 0, so a constant bias does not count.
            off = advantages.mean(axis=1) - reference
            off -= off.mean()
            # The mean of R estimates has the variance noise / R, which is not bias.
            bias = max(0.0, (off**2).mean() / signal - noise / self.repetitions)
            return {
                "estimate": name,
                "steps": steps,
                "noise": noise,
                "bias squared": bias,
                "noise x steps": noise * steps,
            }

        rows = [
            row("single path, GAE(0.95)", _gae(common, 0.95, self.horizon), 1.0),
            row("single path, lambda = 1", _gae(common, 1.0, self.horizon), 1.0),
        ]
        for length in self.lengths:
            for kind, paths in (("its own noise", apart), ("common noise", common)):
                taken = np.minimum(paths.lengths, length).mean()
                rows.append(row(f"branches of {length}, {kind}", _less_others(_discounted(paths, length)), taken))
        return f"Advantages in {self.states} states of {env} after {train_steps} steps of training", rows


class _Played(NamedTuple):
    """K branches from each of M states, R times; values[..., l] is V after l steps, in the unit of the rewards."""

    rewards: Paths
    values: Paths
    lengths: Paths
    terminated: Paths


class _Player:
    """Plays an agent's environment repeatedly from the same states."""

    def __init__(self, agent: TRPO, env: str, settings: Vine) -> None:
        self._settings, self._agent = settings, agent
        self._env: gym.Env = make_vector_environment(env, 1).envs[0]  # type: ignore[attr-defined]
        check_restorable(self._env)
        self._actor = make_actor(agent.policy, 1)
        self._rng = np.random.default_rng(settings.seed)
        self._at = Restorable(self._env)
        self._unit = 1.0 / float(agent.return_scale(tf.constant(1.0)))

    def played(self) -> tuple[_Played, _Played]:
        """Return paths for which the branches of a repetition share their noise, and paths with independent noise."""
        found: tuple[list[Any], list[Any]] = ([], [])
        observation, _ = self._env.reset(seed=self._settings.seed)
        for _ in range(self._settings.states):
            observation = self._walked(observation, int(self._rng.integers(5, 60)))
            self._at.save()
            of_first = self._noise(1)
            for _ in range(self._settings.repetitions):
                first = np.concatenate([of_first, self._noise(self._settings.actions - 1)])
                shared = self._noise(self._settings.horizon)
                for kind, paths in enumerate(found):
                    for k in range(self._settings.actions):
                        later = self._noise(self._settings.horizon) if kind and k else shared
                        paths.append(self._path(observation, np.concatenate([first[k : k + 1], later[1:]])))
                        self._at.restore()
        return self._arranged(found[0]), self._arranged(found[1])

    def _arranged(self, paths: list[Any]) -> _Played:
        shape = (self._settings.states, self._settings.repetitions, self._settings.actions)
        parts = [np.array(part) for part in zip(*paths, strict=True)]
        return _Played(*(part.reshape(*shape, *part.shape[1:]) for part in parts))

    def _noise(self, steps: int) -> np.ndarray:
        seed = tf.constant(self._rng.integers(2**31, size=2).astype(np.int32))
        return self._agent.policy.action_distribution.noise([steps], seed).numpy()

    def _act(self, observation: Any, noise: np.ndarray) -> Any:
        return self._actor(np.asarray(observation)[None], noise[None]).environment[0]

    def _walked(self, observation: Any, steps: int) -> Any:
        """Take some more steps, in a new episode if one ends, and return the last observation."""
        for noise in self._noise(steps):
            observation, _, terminated, truncated, _ = self._env.step(self._act(observation, noise))
            if terminated or truncated:
                observation, _ = self._env.reset()
        return np.array(observation)

    def _path(self, observation: Any, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray, int, bool]:
        rewards, seen, terminated = np.zeros(len(noise)), [observation], False
        for step, of_step in enumerate(noise):
            observation, rewards[step], terminated, truncated, _ = self._env.step(self._act(observation, of_step))
            seen.append(np.array(observation))
            if terminated or truncated:
                break
        length = len(seen) - 1
        rows = np.stack(seen + [seen[-1]] * (len(noise) - length)).astype(np.float32)
        return rewards, self._agent.value_function(tf.constant(rows)).numpy() * self._unit, length, bool(terminated)


def _discounted(paths: _Played, length: int) -> Paths:
    """Compute the discounted returns [M, R, K] of at most `length` steps, bootstrapped with V."""
    steps = np.minimum(paths.lengths, length)
    last = np.take_along_axis(paths.values, steps[..., None], axis=-1)[..., 0]
    ended = paths.terminated & (paths.lengths <= length)
    return paths.rewards[..., :length] @ GAMMA ** np.arange(length) + GAMMA**steps * np.where(ended, 0.0, last)


def _less_others(returns: Paths) -> Paths:
    """Compute the advantages [M, R] of the first actions: their returns minus the mean of the other actions'."""
    return returns[..., 0] - returns[..., 1:].mean(axis=-1)


def _gae(paths: _Played, gae_lambda: float, horizon: int) -> Paths:
    """Compute the generalised advantage estimates [M, R] of the first actions from the first branch alone."""
    values, steps = paths.values[:, :, 0], np.arange(horizon)
    last = steps == paths.lengths[:, :, 0, None] - 1
    following = np.where(last & paths.terminated[:, :, 0, None], 0.0, values[..., 1:])
    deltas = paths.rewards[:, :, 0] + GAMMA * following - values[..., :-1]
    counts = steps < paths.lengths[:, :, 0, None]
    return (np.where(counts, deltas, 0.0) * (GAMMA * gae_lambda) ** steps).sum(axis=-1)
