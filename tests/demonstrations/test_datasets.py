"""Minari datasets: written, read again, and read by Minari itself."""

import sys

import gymnasium as gym
import minari
import numpy as np
import pytest
import tensorflow as tf

from tf_trpo.demonstrations import Demonstrations, Episode, read, record, write


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    return tmp_path


def assert_same(one, other):
    for first, second in zip(one.episodes, other.episodes, strict=True):
        assert first.terminated == second.terminated
        for part, again in zip(tf.nest.flatten(first[:3]), tf.nest.flatten(second[:3]), strict=True):
            assert part.dtype == again.dtype
            np.testing.assert_array_equal(part, again)


SPACES = {
    "nests": (
        gym.spaces.Dict(
            place=gym.spaces.Box(-np.inf, np.inf, (2,), np.float64),
            kinds=gym.spaces.Tuple([gym.spaces.Discrete(4), gym.spaces.MultiBinary(3)]),
        ),
        gym.spaces.Dict(push=gym.spaces.Box(-1, 1, (2,)), gear=gym.spaces.Discrete(3)),
    ),
    "images": (gym.spaces.Box(0, 255, (8, 9, 3), np.uint8), gym.spaces.MultiDiscrete([2, 3])),
}


def samples(space, count):
    return tf.nest.map_structure(lambda *rows: np.stack(rows), *[space.sample() for _ in range(count)])


@pytest.mark.parametrize("kind", SPACES)
def test_reading_gives_what_was_written_bit_for_bit(kind):
    observed, acted = SPACES[kind]
    observed.seed(0), acted.seed(1)
    rng = np.random.default_rng(0)
    episodes = [
        Episode(samples(observed, length + 1), samples(acted, length), rng.normal(size=length), length == 4)
        for length in (4, 1, 7)
    ]
    shown = Demonstrations(observed, acted, episodes)
    write(shown, "mine/nests-v0", author="me")
    found = read("mine/nests-v0")
    assert_same(found, shown)
    assert (found.observation_space, found.action_space, found.environment) == (observed, acted, None)
    assert read("mine/nests-v0", episodes=2).lengths.tolist() == [4, 1]
    assert_same(read(minari.load_dataset("mine/nests-v0")), shown)


def test_minari_reads_environment_and_endings_and_a_folder_can_be_read(folder):
    shown = record(lambda observation: int(observation[2] + observation[3] > 0), "CartPole-v1", 2, seed=1)
    write(shown, "cartpole/linear-v0")
    dataset = minari.load_dataset("cartpole/linear-v0")
    assert dataset.recover_environment().spec.id == "CartPole-v1"
    for episode, own in zip(dataset, shown.episodes, strict=True):
        assert episode.truncations.tolist() == [False] * (len(own.rewards) - 1) + [not own.terminated]
        np.testing.assert_array_equal(episode.observations, own.observations)
    found = read(folder / "cartpole" / "linear-v0")
    assert_same(found, shown)
    assert found.environment == "CartPole-v1"
    with pytest.raises(ValueError, match="already exists"):
        write(shown, "cartpole/linear-v0")


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: (data / "metadata.json").write_text("{"),
        lambda data: [path.unlink() for path in data.iterdir()],
        lambda data: (data / "main_data.hdf5").write_bytes(b"no HDF5" * 100),
    ],
    ids=["metadata", "nothing", "episodes"],
)
def test_a_damaged_dataset_is_one_line(damage, folder, walk):
    write(record(lambda observation: 6, walk, 1), "mine/walk-v0")
    damage(folder / "mine" / "walk-v0" / "data")
    with pytest.raises(ValueError, match=r"^the dataset '.*walk-v0' cannot be read: |^there is no dataset"):
        read(folder / "mine" / "walk-v0")


def test_a_missing_dataset_is_one_line(monkeypatch, walk):
    with pytest.raises(ValueError, match=r"^there is no dataset 'cartpole/none-v0': "):
        read("cartpole/none-v0")
    with pytest.raises(ValueError, match="episodes must be at least 1"):
        read("cartpole/none-v0", episodes=0)
    monkeypatch.setitem(sys.modules, "minari", None)
    with pytest.raises(ImportError, match=r'pip install -e "\.\[demonstrations\]"'):
        read("cartpole/none-v0")
    with pytest.raises(ImportError, match=r'pip install -e "\.\[demonstrations\]"'):
        write(record(lambda observation: 6, walk, 1), "mine/walk-v0")
