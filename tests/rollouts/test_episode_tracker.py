"""Returns and lengths of episodes against adding them up one row after the other."""

import numpy as np
import pytest

from tf_trpo.rollouts import EpisodeTracker, Rollout


def random_rows(rng, num_rows, num_envs):
    """Rows with the layout of a long rollout: steps, an ending now and then, and a row after it."""
    ended = np.zeros((num_rows, num_envs), bool)
    valid = np.ones((num_rows, num_envs), bool)
    for t in range(num_rows):
        if t:
            valid[t] = ~ended[t - 1]
        ended[t] = valid[t] & (rng.random(num_envs) < 0.3)
    terminated = ended & (rng.random(ended.shape) < 0.5)
    # Some episodes end in both ways at once.
    truncated = ended & (~terminated | (rng.random(ended.shape) < 0.3))
    rewards = rng.integers(-9, 10, ended.shape).astype(np.float64) * valid
    return rewards, terminated, truncated, valid


def rollouts_of(rewards, terminated, truncated, valid, cuts):
    for start, end in zip([0, *cuts], [*cuts, len(rewards)], strict=True):
        rows = slice(start, end)
        empty = np.zeros((end - start + 1, rewards.shape[1], 1), np.float32)
        yield Rollout(empty, empty[:-1], rewards[rows], terminated[rows], truncated[rows], valid[rows])


def naive_episodes(rewards, terminated, truncated, valid):
    episodes = []
    for env in range(rewards.shape[1]):
        finished, total, length = [], 0.0, 0
        for t in range(len(rewards)):
            if valid[t, env]:
                total += rewards[t, env]
                length += 1
            if terminated[t, env] or truncated[t, env]:
                finished.append((total, length))
                total, length = 0.0, 0
        episodes.append(finished)
    return episodes


@pytest.mark.parametrize("seed", range(10))
def test_episodes_over_many_rollouts_are_those_of_a_naive_sum(seed):
    rng = np.random.default_rng(seed)
    rows = random_rows(rng, 120, 3)
    cuts = np.sort(rng.choice(np.arange(1, 120), size=25, replace=False)).tolist()
    tracker = EpisodeTracker(3)
    finished = [[], [], []]
    for rollout in rollouts_of(*rows, cuts):
        for episodes, new in zip(finished, tracker.finished(rollout), strict=True):
            episodes.extend(tuple(episode) for episode in new)
    assert finished == naive_episodes(*rows)
    assert min(len(episodes) for episodes in finished) > 10


def test_an_episode_is_reported_by_the_rollout_in_which_it_ends():
    rewards = np.array([[1.0], [2], [4], [0], [8], [16]])
    terminated = np.array([[False], [False], [True], [False], [False], [False]])
    valid = np.array([[True], [True], [True], [False], [True], [True]])
    tracker = EpisodeTracker(1)
    reports = [
        tracker.finished(rollout)
        for rollout in rollouts_of(rewards, terminated, np.zeros_like(terminated), valid, [2, 4])
    ]
    assert reports == [[[]], [[(7.0, 3)]], [[]]]


def test_figures_are_plain_numbers():
    one = np.ones((1, 1))
    [[episode]] = EpisodeTracker(1).finished(Rollout(one, one, one, one == 1, one == 0, one == 1))
    assert type(episode.episode_return) is float
    assert type(episode.length) is int
