"""Evaluation of a policy on whole episodes."""

from __future__ import annotations

import logging

import numpy as np
import tensorflow as tf
from gymnasium.vector import VectorEnv

from tf_trpo.environments import EnvironmentFailedError, InvalidStepError, can_reset_some
from tf_trpo.environments.infos import kept_costs
from tf_trpo.models import Policy
from tf_trpo.rollouts import (
    Episode,
    EpisodeTracker,
    LocalSource,
    Stream,
    make_actor,
    mean_costs,
    mean_infos,
    operation_seed,
)

_logger = logging.getLogger(__name__)
_CHUNK = 128
"""Largest number of rows of a rollout; after each rollout, the ended episodes are counted."""


def evaluate_policy(
    policy: Policy,
    theta: tf.Tensor,
    environments: VectorEnv,
    episodes: int,
    *,
    stochastic: bool = False,
    seed: int = 0,
    max_episode_steps: int = 100_000,
) -> dict[str, float]:
    """Run a fixed number of episodes in each of B environments with NEXT_STEP autoreset; see `Agent.evaluate`.

    The policy acts by the flat trainable weights theta [P]; its own are not assigned, since a fit may use them now.

    Each environment contributes a fixed number of its first episodes: counting the first ones that end in any
    environment would favour short episodes.
    """
    try:
        with policy.scope_at(theta):
            weights = [weight.numpy() for weight in policy.weights]
        counted = _episodes(policy, weights, environments, episodes, stochastic, seed, max_episode_steps)
    except (EnvironmentFailedError, InvalidStepError) as error:
        raise EnvironmentFailedError(f"{error}, in an evaluation") from error
    returns = [episode.episode_return for episode in counted]
    lengths = [episode.length for episode in counted]
    costs = mean_costs(counted, kept_costs(environments), "cost/")
    means = {"mean_return": float(np.mean(returns)), "std_return": float(np.std(returns))}
    return means | {"mean_length": float(np.mean(lengths)), "episodes": int(episodes), **costs, **mean_infos(counted)}


def _episodes(
    policy: Policy,
    weights: list[np.ndarray],
    environments: VectorEnv,
    episodes: int,
    stochastic: bool,
    seed: int,
    max_episode_steps: int,
) -> list[Episode]:
    num_envs = environments.num_envs
    shares = [len(share) for share in np.array_split(np.arange(episodes), num_envs)]
    actor = make_actor(policy, num_envs, deterministic=not stochastic)
    source = LocalSource(environments, actor, seed=seed, stream=Stream.EVALUATION_ENVIRONMENTS)
    tracker = EpisodeTracker(num_envs, len(kept_costs(environments)))
    finished: list[list[Episode]] = [[] for _ in range(num_envs)]
    cuts: list[int] = []
    chunk, rows = 0, min(_CHUNK, max_episode_steps)
    while any(len(done) < share for done, share in zip(finished, shares, strict=True)):
        seeds = operation_seed(seed, Stream.EVALUATION_ACTIONS, chunk)
        noise = policy.action_distribution.noise([rows, num_envs], seeds).numpy()
        for done, new in zip(finished, tracker.finished(source.collect(weights, noise)), strict=True):
            done.extend(new)
        endless = tracker.lengths >= max_episode_steps
        for index in np.flatnonzero(endless).tolist():
            cut = tracker.cut(index)
            if len(finished[index]) < shares[index]:
                cuts.append(cut.length)
            finished[index].append(cut)
        if endless.any() and can_reset_some(environments):
            source.restart_some(endless)
        chunk += 1
    if cuts:
        _logger.warning(
            "%d of %d episodes had no end after %d steps; they are cut there", len(cuts), episodes, min(cuts)
        )
    return [episode for done, share in zip(finished, shares, strict=True) for episode in done[:share]]
