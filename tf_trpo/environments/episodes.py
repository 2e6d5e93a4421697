"""Episodes with a seed each, so that an episode can be played again from its seed and its actions."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

REPLAY = "tf_trpo/replay"
"""Option of `reset`: for each environment, the number of an episode and the actions to take in the episode."""


class SeededEpisodes(gym.Wrapper):
    """Resets an environment with a seed for every episode.

    Episode k of an environment that was reset with `seed` is a function of (seed, k) and the actions alone, if the
    environment itself is deterministic. An environment without a seed stays without one.

    With the option `REPLAY`, a reset plays the beginning of an episode again and gives the last observation. If the
    episode had ended there, the next step begins another episode, as NEXT_STEP autoreset would have done.

    Args:
      env: the environment, with all its wrappers.
      index: position in the vector environment.

    Attributes:
      replay_ended: whether the last action of the last reset's replay ended the episode; None if the episode ended, or
        the environment raised, before that: the environment is not deterministic.
    """

    def __init__(self, env: gym.Env, index: int) -> None:
        super().__init__(env)
        self._index = index
        self._seed: int | None = None
        self._episode = -1
        self.replay_ended: bool | None = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin the next episode, episode 0 if a seed is given, or play an episode again."""
        replay = None
        if options and REPLAY in options:
            replay = options[REPLAY][self._index]
            options = {name: value for name, value in options.items() if name != REPLAY} or None
        if seed is not None:
            self._seed, self._episode = seed, -1
        self._episode = self._episode + 1 if replay is None else replay[0]
        self.replay_ended = False
        observation, info = self.env.reset(seed=self._episode_seed(), options=options)
        for action in () if replay is None else replay[1]:
            try:
                # Raised, an exception would end a process of its own, in which another episode could begin.
                step = None if self.replay_ended else self.env.step(action)
            except (Exception, SystemExit):
                step = None
            if step is None:
                self.replay_ended = None
                break
            observation, _, terminated, truncated, info = step
            self.replay_ended = bool(terminated or truncated)
        return observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step the environment; after a replayed episode that had ended, begin the next episode."""
        if self.replay_ended:
            observation, info = self.reset()
            return observation, 0.0, False, False, info
        return self.env.step(action)

    def _episode_seed(self) -> int | None:
        if self._seed is None:
            return None
        return int(np.random.SeedSequence([self._seed, self._episode]).generate_state(1)[0] >> 1)
