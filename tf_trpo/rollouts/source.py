"""Sources of rollouts: their interface, and the source that steps environments in this process."""

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
from tf_trpo.rollouts.actor import Actor
from tf_trpo.rollouts.branches import Brancher
from tf_trpo.rollouts.seeds import Stream, environment_seeds
from tf_trpo.rollouts.stepping import Rollout, collect_rollout
from tf_trpo.rollouts.unfinished import UnfinishedEpisodes, beginning
from tf_trpo.rollouts.vine import BranchNoise, Vine
from tf_trpo.spaces import observation_spec

_logger = logging.getLogger(__name__)


@runtime_checkable
class RolloutSource(Protocol):
    """Collects rollouts with the policy weights it is given; episodes continue from one rollout to the next.

    For a policy with a memory, the rollout includes the memory's states: `Rollout.memory` is a `Remembered`.

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
          InvalidStepError: an observation, a reward or a cost is not finite in float32; call `restart`.
          EnvironmentFailedError: an environment raised, hung or died, or returned values outside its spaces.
        """

    def restart(self) -> None:
        """Begin new episodes in all environments; raise EnvironmentFailedError if an environment cannot be reset."""

    def restart_some(self, chosen: np.ndarray) -> None:
        """Begin new episodes in the chosen environments, bool [B]; the other episodes continue.

        Raises:
          EnvironmentFailedError: an environment cannot be reset.
        """

    def state(self) -> dict[str, Any]:
        """Return all that `restore` needs, as numbers and arrays."""

    def restore(self, state: dict[str, Any]) -> bool:
        """Continue the episodes of a state.

        Returns:
          Whether the episodes continue. If they do not, all environments have begun new episodes.

        Raises:
          ValueError: the state does not fit these environments.
          EnvironmentFailedError: an environment cannot be reset.
        """

    def close(self) -> None:
        """Release the environments."""


class LocalSource:
    """A `RolloutSource` that steps a vector environment in this process.

    A state has the numbers and actions of the unfinished episodes. `restore` replays them, and compares the
    observations that they reach with the state bit for bit.

    Args:
      environments: B environments with NEXT_STEP autoreset, as `make_vector_environment` gives them.
      actor: the policy for B environments.
      seed: of all episodes: episode k of environment i is seeded by (seed, began_at, i, k).
      stream: purpose of the episodes; streams share no random numbers.
      first: index i of the first environment.
      vine: number and length of branches, for rollouts with branches; None without branches. The environments must have
        passed `check_branching`, and the policy must have no memory.
      began_at: the agent's iterations when the fit begins, >= 0, so that each fit of an agent has new episodes.

    Attributes:
      environments: as given.
      episodes: the unfinished episodes.

    Raises:
      ValueError: vine is given, and the environments are not of the backend "sync".
      EnvironmentFailedError: an environment cannot be reset.
    """

    def __init__(
        self,
        environments: VectorEnv,
        actor: Actor,
        *,
        seed: int,
        stream: Stream = Stream.ENVIRONMENTS,
        first: int = 0,
        vine: Vine | None = None,
        began_at: int = 0,
    ) -> None:
        self.num_envs = environments.num_envs
        self.environments = environments
        self._actor = actor
        self._spec = observation_spec(environments.single_observation_space)
        self._seed, self._stream, self._first = seed, stream, first
        replayable = can_replay(environments)
        self.episodes = UnfinishedEpisodes(
            self._spec, actor.initial_states, self.num_envs, can_replay=replayable, began_at=began_at
        )
        self._brancher = None if vine is None else Brancher(environments, actor, self._spec, vine)
        self.begin(self.episodes.numbers)

    def collect(
        self, weights: Sequence[np.ndarray], noise: np.ndarray, branch_noise: BranchNoise | None = None
    ) -> Rollout:
        """Collect as `RolloutSource.collect` does; with branches if their noise is given."""
        self._actor.set_weights(weights)
        at, brancher = self.episodes, self._brancher
        branch = None if brancher is None or branch_noise is None else brancher.begin(branch_noise)
        here = at.observations, at.just_ended, noise, at.states
        # Also if the rollout does not end, because of an interruption or a failure.
        at.were_played = True
        try:
            rollout = collect_rollout(self.environments, self._actor, self._spec, *here, branch)
        except (EnvironmentFailedError, InvalidStepError):
            at.give_up(len(noise))
            raise
        at.follow(rollout)
        return rollout if brancher is None or branch is None else rollout._replace(branches=brancher.branches())

    def restart(self) -> None:
        self.begin(self.episodes.numbers + 1)

    def begin(self, numbers: np.ndarray, began_at: int | None = None) -> None:
        """Begin the episodes with the given numbers, int64 [B]; the errors are those of `restart`.

        Args:
          numbers: of the episodes.
          began_at: of the fit whose episodes they are; by default the same as before.
        """
        self.episodes.numbers = numbers.copy()
        self.episodes.began_at = self.episodes.began_at if began_at is None else began_at
        self.episodes.failed = True
        self.episodes.begin(self._reset(self._begun))

    def restart_some(self, chosen: np.ndarray) -> None:
        if not can_reset_some(self.environments):
            raise ValueError("these environments can only be reset together")
        reset = self._reset(lambda: self.environments.reset(options={"reset_mask": chosen})[0])
        self.episodes.begin_next(chosen, reset)

    def state(self) -> dict[str, Any]:
        return self.episodes.state()

    def restore(self, state: dict[str, Any]) -> bool:
        self.episodes.check(state)
        if self.episodes.can_replay and state["actions"] is not None and self._replay(state):
            self.episodes.restore(state)
            return True
        self.begin(state["episodes"] + 1, beginning(state))
        return False

    def close(self) -> None:
        self.environments.close()

    def _replay(self, state: dict[str, Any]) -> bool:
        given = [self._actor.for_environment(actions) if len(actions) else () for actions in state["actions"]]
        episodes = list(zip(state["episodes"].tolist(), given, strict=True))
        try:
            seeds = self._seeds(beginning(state))
            observed = self._reset(lambda: replay_episodes(self.environments, seeds, episodes))
        except EnvironmentFailedError as error:
            _logger.warning("the unfinished episodes cannot be played again: %s", error)
            return False
        return self.episodes.are_at(state, observed, replay_endings(self.environments))

    def _begun(self) -> Any:
        numbers, began_at = self.episodes.numbers, self.episodes.began_at
        if self.episodes.can_replay:
            seeds = self._seeds(began_at)
            return replay_episodes(self.environments, seeds, [(number, ()) for number in numbers.tolist()])
        # One seed for all the episodes that follow. It changes at every restart; otherwise, episodes would repeat.
        seeds = self._seeds(began_at, position=int(numbers.sum()))
        # Every vector environment takes a list.
        return self.environments.reset(seed=seeds)[0]  # type: ignore[arg-type]

    def _seeds(self, began_at: int, position: int = 0) -> list[int]:
        last = self._first + self.num_envs
        return environment_seeds(self._seed, self._stream, last, position, began_at=began_at)[self._first :]

    def _reset(self, reset: Callable[[], Any]) -> Any:
        """Call a function that resets environments; raise EnvironmentFailedError if it raises anything."""
        try:
            # Copies: the environments may write to these arrays again.
            return copied(reset())
        except (Exception, SystemExit) as error:
            self.episodes.give_up(1)
            raise EnvironmentFailedError(f"{reason(error)}, when reset") from error
