"""Where rollouts come from: an interface, and the environments of this process."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from gymnasium.vector import VectorEnv

from tf_trpo.environments import (
    EnvironmentFailedError,
    InvalidStepError,
    can_replay,
    can_reset_some,
    replay_endings,
    replay_episodes,
)
from tf_trpo.environments.failures import reason
from tf_trpo.environments.sync import copied
from tf_trpo.rollouts.actor import Actor, States
from tf_trpo.rollouts.seeds import Stream, environment_seeds
from tf_trpo.rollouts.stepping import Remembered, Rollout, collect_rollout
from tf_trpo.spaces import flatten_to, map_parts, nest_of, observation_spec

_logger = logging.getLogger(__name__)
_LONGEST_REPLAY = 100_000
"""Steps of an episode that are remembered; a longer episode cannot be played again."""


@runtime_checkable
class RolloutSource(Protocol):
    """Collects rollouts of a policy whose weights it is given; episodes continue from one rollout to the next.

    Attributes:
      num_envs: B, environments stepped together.
    """

    num_envs: int

    def collect(self, weights: Sequence[np.ndarray], noise: np.ndarray) -> Rollout:
        """Take one step in every environment for each row of noise.

        Args:
          weights: of the policy, in the order of `policy.weights`.
          noise: [T, B, ...], of the action distribution's `noise`.

        Raises:
          InvalidStepError: an observation or a reward has a wrong shape or is not finite; call `restart`.
          EnvironmentFailedError: an environment raised, hung or died.
        """

    def restart(self) -> None:
        """Begin new episodes in all environments; raise EnvironmentFailedError if an environment cannot be reset."""

    def restart_some(self, chosen: np.ndarray) -> None:
        """Begin new episodes in the chosen environments, bool [B]; the other episodes continue.

        Raises:
          InvalidStepError: an observation has a wrong shape; call `restart`.
          EnvironmentFailedError: an environment cannot be reset.
        """

    def state(self) -> dict[str, Any]:
        """Give all that `restore` needs, as numbers and arrays."""

    def restore(self, state: dict[str, Any]) -> bool:
        """Continue the episodes of a state.

        Returns:
          Whether the episodes continue. If they do not, all environments have begun new episodes.

        Raises:
          ValueError: the state is not one of such environments.
          EnvironmentFailedError: an environment cannot be reset.
        """

    def close(self) -> None:
        """Release the environments."""


class LocalSource:
    """A `RolloutSource` of a vector environment that is stepped in this process.

    A state has the numbers and actions of the present episodes: `restore` plays them again, and compares where they
    stand with the state bit for bit.

    Args:
      environments: B environments with NEXT_STEP autoreset, as `make_vector_environment` gives them.
      actor: the policy for B environments.
      seed: of all episodes: episode k of environment i is seeded by (seed, i, k).
      stream: what the episodes are for; streams share no random numbers.

    Attributes:
      environments: as given.
      observations: a nest of arrays [B, ...], where the next rollout begins.
      just_ended: bool [B], whether an episode ended with the last step, so that the next row is no step.
      states: of the policy's memory before the next row, arrays [B, ...]; empty without a memory.

    Raises:
      EnvironmentFailedError: an environment cannot be reset.
    """

    observations: Any
    just_ended: np.ndarray
    states: States
    _actions: list[list[np.ndarray] | None]
    """For each environment the sampled actions of its present episode, in parts; None if there are too many."""

    def __init__(
        self, environments: VectorEnv, actor: Actor, *, seed: int, stream: Stream = Stream.ENVIRONMENTS
    ) -> None:
        self.num_envs = environments.num_envs
        self.environments = environments
        self._actor = actor
        self._spec = observation_spec(environments.single_observation_space)
        self._seed, self._stream = seed, stream
        self._seeds = environment_seeds(seed, stream, self.num_envs)
        self._episodes = np.zeros(self.num_envs, np.int64)
        """Numbers of the present episodes."""
        self._begin()

    def collect(self, weights: Sequence[np.ndarray], noise: np.ndarray) -> Rollout:
        self._actor.set_weights(weights)
        try:
            rollout = collect_rollout(
                self.environments, self._actor, self._spec, self.observations, self.just_ended, noise, self.states
            )
        except EnvironmentFailedError:
            # An environment that fails after these actions would fail again in every replay.
            self._failed = True
            raise
        self._remember(rollout)
        self.observations = map_parts(lambda _, rows: rows[-1].copy(), self._spec, rollout.observations)
        self.just_ended = rollout.terminated[-1] | rollout.truncated[-1]
        if isinstance(rollout.memory, Remembered):
            self.states = tuple(part[-1].copy() for part in rollout.memory.states)
        return rollout

    def restart(self) -> None:
        self._episodes += 1
        self._begin()

    def restart_some(self, chosen: np.ndarray) -> None:
        if not can_reset_some(self.environments):
            raise ValueError("these environments can only be reset together")
        observations = self._reset(lambda: self.environments.reset(options={"reset_mask": chosen})[0])
        for part, new in zip(self._parts(self.observations), self._parts(observations), strict=True):
            part[chosen] = new[chosen]
        self.just_ended[chosen] = False
        for now, first in zip(self.states, self._actor.initial_states, strict=True):
            now[chosen] = first[chosen]
        self._episodes[chosen] += 1
        for index in np.flatnonzero(chosen).tolist():
            self._actions[index] = []

    def state(self) -> dict[str, Any]:
        return {
            "observations": [part.copy() for part in self._parts(self.observations)],
            "just_ended": self.just_ended.copy(),
            "memory": [part.copy() for part in self.states],
            "episodes": self._episodes.copy(),
            "actions": self._remembered(),
        }

    def restore(self, state: dict[str, Any]) -> bool:
        self._check(state)
        exact = can_replay(self.environments) and state["actions"] is not None and self._replay(state)
        self._episodes = state["episodes"].copy()
        if not exact:
            self.restart()
            return False
        self.observations = nest_of(self._spec, [part.copy() for part in state["observations"]])
        self.just_ended = state["just_ended"].copy()
        self.states = tuple(part.copy() for part in state["memory"])
        self._actions = [[actions] if len(actions) else [] for actions in state["actions"]]
        self._failed = False
        return True

    def close(self) -> None:
        self.environments.close()

    def _parts(self, observations: Any) -> list[np.ndarray]:
        return flatten_to(self._spec, observations)

    def _remembered(self) -> list[np.ndarray] | None:
        """Give the sampled actions [L, ...] of each present episode, or None if they cannot be played again."""
        actions = [part for part in self._actions if part is not None]
        if self._failed or not can_replay(self.environments) or len(actions) < self.num_envs:
            return None
        return [np.concatenate(part) if part else np.empty(0) for part in actions]

    def _replay(self, state: dict[str, Any]) -> bool:
        given = [self._actor.for_environment(actions) if len(actions) else () for actions in state["actions"]]
        episodes = list(zip(state["episodes"].tolist(), given, strict=True))
        try:
            observed = self._reset(lambda: replay_episodes(self.environments, self._seeds, episodes))
        except (EnvironmentFailedError, InvalidStepError) as error:
            _logger.warning("the unfinished episodes cannot be played again: %s", error)
            return False
        pairs = zip(self._parts(observed), state["observations"], strict=True)
        same = all(part.tobytes() == then.tobytes() for part, then in pairs)
        return same and list(replay_endings(self.environments)) == state["just_ended"].tolist()

    def _check(self, state: dict[str, Any]) -> None:
        """Raise ValueError unless the arrays of a state are those of such environments."""
        here = [*self._parts(self.observations), *self.states, self.just_ended, self._episodes]
        given = [*state["observations"], *state["memory"], state["just_ended"], state["episodes"]]
        ours, theirs = ([f"{array.dtype} {array.shape}" for array in arrays] for arrays in (here, given))
        if ours != theirs:
            raise ValueError(
                f"observations, memory, just_ended and episodes are {', '.join(theirs)}, here {', '.join(ours)}"
            )
        if not all(np.isfinite(array).all() for array in given):
            raise ValueError("the observations or the memory are not finite")
        if state["episodes"].min() < 0:
            raise ValueError("numbers of episodes are impossible")
        if state["actions"] is not None:
            kinds = {(actions.dtype, actions.shape[1:]) for actions in state["actions"] if len(actions)}
            if len(state["actions"]) != self.num_envs or len(kinds) > 1:
                raise ValueError("the actions are not those of these environments")

    def _begin(self) -> None:
        """Begin the episodes of the present numbers."""
        self._failed = True
        try:
            self.observations = self._reset(self._begun)
        except InvalidStepError as error:
            # There is nothing to restart from: this was the restart.
            raise EnvironmentFailedError(f"{error}, when reset") from error
        self.just_ended = np.zeros(self.num_envs, bool)
        self.states = tuple(part.copy() for part in self._actor.initial_states)
        self._failed = False
        self._actions = [[] for _ in range(self.num_envs)]

    def _begun(self) -> Any:
        if can_replay(self.environments):
            begun = [(number, ()) for number in self._episodes.tolist()]
            return replay_episodes(self.environments, self._seeds, begun)
        # One seed for all the episodes that follow: another one at every restart, or episodes would come again.
        seeds = environment_seeds(self._seed, self._stream, self.num_envs, position=int(self._episodes.sum()))
        # Every vector environment takes a list.
        return self.environments.reset(seed=seeds)[0]  # type: ignore[arg-type]

    def _reset(self, reset: Callable[[], Any]) -> Any:
        """Call a function that resets environments; give every failure the kind and words of a failed environment."""
        try:
            # Copies: the environments may write to these arrays again.
            return copied(reset())
        except InvalidStepError:
            raise
        except (Exception, SystemExit) as error:
            # The same reset would fail after every replay.
            self._failed = True
            raise EnvironmentFailedError(f"{reason(error)}, when reset") from error

    def _remember(self, rollout: Rollout) -> None:
        """Keep the actions [T, B, ...] of the present episodes; an episode that ended in the last row is still kept."""
        # The row after an episode's end is no step: the episode that it begins has the actions from the next row on.
        begins = ~rollout.valid
        for index in range(self.num_envs):
            rows = np.flatnonzero(begins[:, index])
            if len(rows):
                self._episodes[index] += len(rows)
                self._actions[index] = []
            start = rows[-1] + 1 if len(rows) else 0
            actions = self._actions[index]
            if actions is not None:
                actions.append(rollout.actions[start:, index].copy())
                if sum(map(len, actions)) > _LONGEST_REPLAY:
                    self._actions[index] = None
