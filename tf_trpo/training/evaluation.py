"""Evaluating a policy on whole episodes."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
from gymnasium.vector import VectorEnv

from tf_trpo.environments import EnvironmentFailedError, InvalidStepError
from tf_trpo.models import Policy
from tf_trpo.rollouts import Episode, EpisodeTracker, LocalSource, Stream, make_actor, operation_seed

_CHUNK = 128
"""Steps between two looks at which episodes have ended."""


class Evaluation(NamedTuple):
    """Statistics of whole episodes: the environment's own rewards, undiscounted."""

    mean_return: float
    std_return: float
    mean_length: float
    episodes: int


def evaluate_policy(
    policy: Policy,
    environments: VectorEnv,
    episodes: int,
    *,
    stochastic: bool = False,
    seed: int = 0,
    max_episode_steps: int = 100_000,
) -> Evaluation:
    """Run a fixed number of episodes in each environment.

    Every environment contributes its first episodes, as many as its share: taking the first that end
    anywhere would favour short ones.

    Args:
      policy: the policy to evaluate.
      environments: B vector environments with NEXT_STEP autoreset.
      episodes: in all, >= 1.
      stochastic: sample actions instead of taking the mode.
      seed: of environments and actions.
      max_episode_steps: where an episode that does not end is cut in pieces, at the next look.

    Raises:
      EnvironmentFailedError: an environment raised, hung or died, or gave what is not finite.
    """
    try:
        counted = _episodes(policy, environments, episodes, stochastic, seed, max_episode_steps)
    except (EnvironmentFailedError, InvalidStepError) as error:
        raise EnvironmentFailedError(f"{error} of an evaluation") from error
    returns = [episode.episode_return for episode in counted]
    lengths = [episode.length for episode in counted]
    return Evaluation(float(np.mean(returns)), float(np.std(returns)), float(np.mean(lengths)), episodes)


def _episodes(
    policy: Policy, environments: VectorEnv, episodes: int, stochastic: bool, seed: int, max_episode_steps: int
) -> list[Episode]:
    num_envs = environments.num_envs
    shares = [len(share) for share in np.array_split(np.arange(episodes), num_envs)]
    actor = make_actor(policy, num_envs, deterministic=not stochastic)
    source = LocalSource(environments, actor, seed=seed, stream=Stream.EVALUATION_ENVIRONMENTS)
    weights = [weight.numpy() for weight in policy.weights]
    tracker = EpisodeTracker(num_envs)
    finished: list[list[Episode]] = [[] for _ in range(num_envs)]
    chunk = 0
    while any(len(done) < share for done, share in zip(finished, shares, strict=True)):
        seeds = operation_seed(seed, Stream.EVALUATION_ACTIONS, chunk)
        noise = policy.action_distribution.noise([_CHUNK, num_envs], seeds).numpy()
        for done, new in zip(finished, tracker.finished(source.collect(weights, noise)), strict=True):
            done.extend(new)
        for index in np.flatnonzero(tracker.lengths >= max_episode_steps).tolist():
            cut = tracker.cut(index)
            if len(finished[index]) < shares[index]:
                warnings.warn(f"an episode had no end after {cut.length} steps; it is cut there", stacklevel=4)
            finished[index].append(cut)
        chunk += 1
    return [episode for done, share in zip(finished, shares, strict=True) for episode in done[:share]]
