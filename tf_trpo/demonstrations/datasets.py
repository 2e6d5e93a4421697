"""Read and write demonstrations as Minari datasets."""

from __future__ import annotations

import contextlib
import itertools
import os
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium as gym
import numpy as np
import tensorflow as tf

from tf_trpo.demonstrations.episodes import Demonstrations, Episode
from tf_trpo.extras import not_installed
from tf_trpo.ranges import check_whole_numbers


def write(demonstrations: Demonstrations, dataset_id: str, **metadata: Any) -> None:
    """Write a Minari dataset to Minari's folder (MINARI_DATASETS_PATH, by default ~/.minari).

    Args:
      demonstrations: the episodes.
      dataset_id: name of the dataset, such as "hopper/mine-v0"; it must not exist.
      **metadata: further arguments of `minari.create_dataset_from_buffers`: author, author_email, code_permalink,
        algorithm_name, description.

    Raises:
      ImportError: Minari is not installed.
      ValueError: the name is not valid, or the dataset exists.
    """
    minari = _minari()
    from minari.data_collector import EpisodeBuffer

    buffers = []
    for number, episode in enumerate(demonstrations.episodes):
        ends = np.arange(len(episode.rewards)) == len(episode.rewards) - 1
        flags = {"terminations": ends & episode.terminated, "truncations": ends & (not episode.terminated)}
        rows = {name: getattr(episode, name) for name in ("observations", "actions", "rewards")}
        buffers.append(EpisodeBuffer(id=number, **rows, **flags))
    with contextlib.ExitStack() as opened:
        environment = demonstrations.environment
        spaces = {name: getattr(demonstrations, name) for name in ("observation_space", "action_space")}
        # From an id, Minari would make an environment and never close it.
        env = None if environment is None else opened.enter_context(contextlib.closing(gym.make(environment)))
        # Minari warns about each piece of metadata that is missing.
        opened.enter_context(warnings.catch_warnings(action="ignore", category=UserWarning))
        own = {"data_format": "hdf5", "jpeg_encoding": False}
        minari.create_dataset_from_buffers(dataset_id, buffers, env, **spaces, **own, **metadata)


def read(dataset: Any, episodes: int | None = None) -> Demonstrations:
    """Read a Minari dataset.

    Args:
      dataset: name of a dataset in Minari's folder (`minari download NAME` puts one there), the folder of a dataset, or
        a `minari.MinariDataset`.
      episodes: number of episodes to read from the beginning, >= 1; None for all.

    Raises:
      ImportError: Minari is not installed.
      ValueError: the dataset does not exist, cannot be read, or has no episode; or `episodes` is less than 1.
    """
    if episodes is not None:
        check_whole_numbers(episodes=episodes)
    minari = _minari()
    if not isinstance(dataset, str | os.PathLike):
        return _read(dataset, episodes)
    folder, name = Path(dataset), os.fspath(dataset)
    try:
        is_folder = (folder / "data").is_dir()
        return _read(minari.MinariDataset(folder / "data") if is_folder else minari.load_dataset(name), episodes)
    except FileNotFoundError as error:
        raise ValueError(f"there is no dataset {name!r}: {error}") from error
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise ValueError(f"the dataset {name!r} cannot be read: {error}") from error


def _read(opened: Any, episodes: int | None) -> Demonstrations:
    played = [
        Episode(
            tf.nest.map_structure(np.asarray, episode.observations),
            tf.nest.map_structure(np.asarray, episode.actions),
            np.asarray(episode.rewards, np.float64),
            bool(episode.terminations[-1]),
        )
        for episode in itertools.islice(opened, episodes)
    ]
    spec = opened.env_spec
    return Demonstrations(opened.observation_space, opened.action_space, played, None if spec is None else spec.id)


def _minari() -> ModuleType:
    try:
        import minari
    except ImportError as error:
        raise not_installed("minari") from error
    return minari
