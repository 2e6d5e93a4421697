"""Record episodes of an agent, a model or a function."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import gymnasium as gym
import numpy as np
import tensorflow as tf
from gymnasium.vector import VectorEnv

from tf_trpo.demonstrations.episodes import Demonstrations, Episode
from tf_trpo.environments import ActionMasks, open_vector_environment
from tf_trpo.environments.fitting import fitting_actions
from tf_trpo.environments.making import Wrapper, find_maker
from tf_trpo.ranges import check_whole_numbers


class Predicting(Protocol):
    """An agent of this package."""

    policy: Any

    def predict(
        self, observations: Any, state: Any = None, *, stochastic: bool = False, seed: int | None = None
    ) -> Any:
        """Return the action for one observation; with a memory, the action and the new state."""


Demonstrator: TypeAlias = "Predicting | str | os.PathLike[str] | Callable[[Any], Any]"
"""An agent, the folder of an exported SavedModel, or a function from an observation to an action.

If an environment has masks of actions, they are a part of the observation; see `record`."""
Act: TypeAlias = Callable[[Any, int], Any]
"""(Observations [1, ...], index of the step in its episode) -> actions [1, ...]."""


def record(
    demonstrator: Demonstrator,
    environment: str | Callable[[], gym.Env],
    episodes: int = 10,
    *,
    stochastic: bool = False,
    env_kwargs: Mapping[str, Any] | None = None,
    wrappers: Sequence[Wrapper] = (),
    action_masks: ActionMasks = "auto",
    max_episode_steps: int = 100_000,
    seed: int = 0,
) -> Demonstrations:
    """Record whole episodes.

    Args:
      demonstrator: what chooses the actions: an agent, the folder of an exported SavedModel, or a function from an
        observation to an action. If masks come from the environment's method `action_masks()` or from infos, the
        function gets a dict with the entry "action_mask"; an observation that is not a dict is its entry "observation".
      environment: a Gymnasium id, or a function that makes an environment.
      episodes: number of whole episodes, >= 1.
      stochastic: sample the actions of an agent or a model, so that a clone also learns their spread; by default the
        most likely actions are taken.
      env_kwargs, wrappers, action_masks: as for `make_vector_environment`.
      max_episode_steps: number of steps after which an episode is truncated, >= 1.
      seed: seed of the episodes and of sampled actions.

    Raises:
      TypeError: the demonstrator is of another type, or the environment is a vector environment.
      ValueError: an action does not lie in the environment's space, or `stochastic` is set for a function.
      EnvironmentFailedError: the environment failed.
    """
    check_whole_numbers(episodes=episodes, max_episode_steps=max_episode_steps)
    check_whole_numbers(lowest=0, seed=seed)
    if isinstance(environment, VectorEnv):
        raise TypeError("episodes are recorded one by one: give an id or a function that makes an environment")
    making: dict[str, Any] = {"env_kwargs": env_kwargs, "wrappers": wrappers, "action_masks": action_masks}
    with open_vector_environment(environment, 1, **making) as environments:
        act = _acting(demonstrator, stochastic, seed)
        played = [
            # The environment derives each episode's seed from the first one and the episode's number.
            _episode(environments, act, seed if number == 0 else None, max_episode_steps)
            for number in range(episodes)
        ]
        spaces = environments.single_observation_space, environments.single_action_space
    is_id = isinstance(environment, str) and find_maker(environment) is None
    # Only the plain environment can be made from its id again.
    is_plain = is_id and not env_kwargs and not wrappers and action_masks != "info"
    name = str(environment) if is_plain else None
    return Demonstrations(*spaces, played, name)


def _episode(environments: VectorEnv, act: Act, seed: int | None, longest: int) -> Episode:
    observation, _ = environments.reset(seed=seed)
    observations: list[Any] = [_row(observation)]
    actions: list[Any] = []
    rewards: list[float] = []
    ended = False
    while not ended and len(rewards) < longest:
        action = fitting_actions(act(observation, len(rewards)), environments.single_action_space)
        observation, reward, terminated, truncated, _ = environments.step(action)
        observations.append(_row(observation))
        actions.append(_row(action))
        rewards.append(float(reward[0]))
        ended = bool(terminated[0] or truncated[0])
    seen, taken = (tf.nest.map_structure(lambda *rows: np.stack(rows), *each) for each in (observations, actions))
    return Episode(seen, taken, np.array(rewards), bool(terminated[0]))


def _row(nest: Any) -> Any:
    # Copied, because the environments reuse these arrays.
    return tf.nest.map_structure(lambda rows: np.array(rows[0]), nest)


def _acting(demonstrator: Any, stochastic: bool, seed: int) -> Act:
    """Return a function that chooses actions for any kind of demonstrator."""
    draws = np.random.default_rng(seed)
    if isinstance(demonstrator, str | os.PathLike):
        from tf_trpo.serving.local_policy import LocalPolicy

        model = LocalPolicy(Path(demonstrator))

        def by_model(observations: Any, step: int) -> Any:
            if step == 0:
                model.begin()
            return model.act(observations, tuple(draws.integers(2**31, size=2).tolist()) if stochastic else None)

        return by_model
    if hasattr(getattr(demonstrator, "policy", None), "memory"):
        state: Any = None

        def by_agent(observations: Any, step: int) -> Any:
            nonlocal state
            sampling = {"stochastic": True, "seed": int(draws.integers(2**31))} if stochastic else {}
            if demonstrator.policy.memory is None:
                return demonstrator.predict(observations, **sampling)
            action, state = demonstrator.predict(observations, None if step == 0 else state, **sampling)
            return action

        return by_agent
    if not callable(demonstrator):
        raise TypeError(f"{demonstrator!r} cannot act: give an agent of tf_trpo, the folder of a model, or a function")
    if stochastic:
        raise ValueError("stochastic: a function draws its actions itself")

    def by_function(observations: Any, step: int) -> Any:
        action = demonstrator(_row(observations))
        # Only a dict or a tuple is a nest; a list is an array.
        return tf.nest.map_structure(
            lambda part: np.asarray(part)[None], np.asarray(action) if isinstance(action, list) else action
        )

    return by_function
