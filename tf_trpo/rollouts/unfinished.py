"""The unfinished episodes of environments, which continue from one rollout to the next."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from tf_trpo.rollouts.actor import States
from tf_trpo.rollouts.stepping import Remembered, Rollout
from tf_trpo.spaces import Spec, flatten_to, map_parts, nest_of

_LONGEST_REPLAY = 100_000
"""Largest number of steps whose actions are stored; a longer episode cannot be replayed."""


class _Played:
    """The sampled actions of an episode so far.

    Attributes:
      parts: arrays of actions, one from each rollout.
      count: number of actions.
      digest: SHA-256 of all actions; each rollout adds only its own.
    """

    def __init__(self, actions: np.ndarray | None = None) -> None:
        self.parts: list[np.ndarray] = []
        self.count = 0
        self.digest = hashlib.sha256()
        if actions is not None:
            self.add(actions)

    def add(self, actions: np.ndarray) -> None:
        # An episode without a step has no actions, of any shape.
        if not len(actions):
            return
        if not self.count:
            self.digest.update(f"{actions.dtype.str} {actions.shape[1:]}".encode())
        self.digest.update(np.ascontiguousarray(actions).tobytes())
        self.parts.append(actions)
        self.count += len(actions)


class UnfinishedEpisodes:
    """The unfinished episodes of B environments between two rollouts, tracked from the rollouts alone.

    Args:
      spec: spec of one observation.
      initial_states: initial states of the policy's memory, arrays [B, ...]; empty without a memory.
      num_envs: B.
      can_replay: whether the environments can replay episodes; otherwise no actions are stored.
      began_at: the agent's iterations when the fit of these episodes began, by which fits have different episodes.

    Attributes:
      can_replay, began_at: as given; `began_at` changes with a restored state.
      observations: the observations at which the next rollout begins, a nest of arrays [B, ...].
      just_ended: bool [B], whether an episode ended with the last step, so that the next row is not a step.
      states: states of the policy's memory before the next row, arrays [B, ...].
      numbers: episode numbers, int64 [B].
      failed: whether a rollout or a reset has failed, so that the episodes cannot be replayed.
      were_played: whether the environments may not stand at the first observations: a rollout, even one that did not
        end, began after all episodes had begun together, or the episodes were restored.
    """

    observations: Any
    just_ended: np.ndarray
    states: States
    were_played: bool

    def __init__(
        self, spec: Spec, initial_states: States, num_envs: int, *, can_replay: bool = True, began_at: int = 0
    ) -> None:
        self.num_envs, self.can_replay, self.began_at = num_envs, can_replay, began_at
        self.numbers = np.zeros(num_envs, np.int64)
        self.failed = False
        self._spec, self._initial_states = spec, initial_states
        self._actions: list[_Played | None] = []
        """For each environment, the actions of its unfinished episode; None if it cannot be replayed."""

    def begin(self, observations: Any) -> None:
        """Begin the episodes with the present numbers, at these first observations."""
        self.observations, self.failed, self.were_played = observations, False, False
        self.just_ended = np.zeros(self.num_envs, bool)
        self.states = tuple(part.copy() for part in self._initial_states)
        self._actions = [self._begun() for _ in range(self.num_envs)]

    def begin_next(self, chosen: np.ndarray, observations: Any) -> None:
        """Begin the next episodes of the chosen environments, bool [B]; the others' observations are ignored."""
        for part, new in zip(self._parts(self.observations), self._parts(observations), strict=True):
            part[chosen] = new[chosen]
        self.just_ended[chosen] = False
        self._forget(chosen)
        self.numbers[chosen] += 1
        for index in np.flatnonzero(chosen).tolist():
            self._actions[index] = self._begun()

    def follow(self, rollout: Rollout) -> None:
        """Advance to the end of a rollout of all environments; an episode that ended in its last row is still kept."""
        self.were_played = True
        self.observations = map_parts(lambda _, rows: rows[-1].copy(), self._spec, rollout.observations)
        self.just_ended = rollout.terminated[-1] | rollout.truncated[-1]
        if isinstance(rollout.memory, Remembered):
            self.states = tuple(part[-1].copy() for part in rollout.memory.states)
            # A state that is not finite would stay so until the episode ends.
            finite = [np.isfinite(part).reshape(self.num_envs, -1).all(axis=1) for part in self.states]
            self._forget(~np.all(finite, axis=0))
        # The row after an episode's end is not a step: the new episode's actions begin in the row after it.
        begins = ~rollout.valid
        self.numbers += begins.sum(axis=0)
        if self.can_replay:
            self._follow_actions(begins, rollout.actions)

    def give_up(self, most_begun: int) -> None:
        """Give up the episodes after a rollout or a reset that failed.

        After the same actions, or in an episode with the same number, an environment would fail again.

        Args:
          most_begun: largest number of episodes that the rollout or the reset may have begun in an environment.
        """
        self.numbers += most_begun
        self.failed = True

    def _follow_actions(self, begins: np.ndarray, actions: np.ndarray) -> None:
        for index in range(self.num_envs):
            rows = np.flatnonzero(begins[:, index])
            if len(rows):
                self._actions[index] = _Played()
            start = rows[-1] + 1 if len(rows) else 0
            played = self._actions[index]
            if played is not None:
                played.add(actions[start:, index].copy())
                if played.count > _LONGEST_REPLAY:
                    self._actions[index] = None

    def _begun(self) -> _Played | None:
        return _Played() if self.can_replay else None

    def _forget(self, chosen: np.ndarray) -> None:
        """Reset the memory of the chosen environments, bool [B]."""
        for now, first in zip(self.states, self._initial_states, strict=True):
            now[chosen] = first[chosen]

    def state(self, rows: slice = slice(None)) -> dict[str, Any]:
        """Return some environments' episodes as arrays and numbers; actions are None if they cannot be replayed."""
        played = self._played(rows)
        return {
            "observations": [part[rows].copy() for part in self._parts(self.observations)],
            "just_ended": self.just_ended[rows].copy(),
            "memory": [part[rows].copy() for part in self.states],
            "began_at": self.began_at,
            "episodes": self.numbers[rows].copy(),
            "actions": None
            if played is None
            else [np.concatenate(each.parts) if each.parts else np.empty(0) for each in played],
        }

    def digest(self, rows: slice = slice(None)) -> bytes:
        """Compute the SHA-256 of the episodes of some environments, to compare states."""
        found, played = hashlib.sha256(), self._played(rows)
        found.update(f"{self.began_at} ".encode())
        for array in (*self._parts(self.observations), self.just_ended, *self.states, self.numbers):
            found.update(f"{array.dtype} {array[rows].shape}".encode() + np.ascontiguousarray(array[rows]).tobytes())
        found.update(b"unknown" if played is None else b"".join(each.digest.digest() for each in played))
        return found.digest()

    def _played(self, rows: slice) -> list[_Played] | None:
        """Return the actions of some environments' unfinished episodes; None if an episode cannot be replayed."""
        played = [each for each in self._actions[rows] if each is not None]
        return None if self.failed or len(played) < len(self._actions[rows]) else played

    def restore(self, state: dict[str, Any]) -> None:
        """Set the episodes to those of a state that has actions and has passed `check`."""
        self.observations = nest_of(self._spec, [part.copy() for part in state["observations"]])
        self.just_ended, self.numbers = state["just_ended"].copy(), state["episodes"].copy()
        self.states = tuple(part.copy() for part in state["memory"])
        self.began_at = beginning(state)
        self._actions = [_Played(actions) for actions in state["actions"]]
        self.failed, self.were_played = False, True

    def check(self, state: dict[str, Any]) -> None:
        """Raise ValueError unless the arrays of a state fit these environments."""
        here = [*self._parts(self.observations), *self.states, self.just_ended, self.numbers]
        given = [*state["observations"], *state["memory"], state["just_ended"], state["episodes"]]
        ours, theirs = ([f"{array.dtype} {array.shape}" for array in arrays] for arrays in (here, given))
        if ours != theirs:
            raise ValueError(
                f"observations, memory, just_ended and episodes are {', '.join(theirs)}, here {', '.join(ours)}"
            )
        if not all(np.isfinite(array).all() for array in given):
            raise ValueError("the observations or the memory are not finite")
        if state["episodes"].min() < 0 or type(beginning(state)) is not int or beginning(state) < 0:
            raise ValueError("numbers of episodes are impossible")
        if state["actions"] is not None:
            kinds = {(actions.dtype, actions.shape[1:]) for actions in state["actions"] if len(actions)}
            if len(state["actions"]) != self.num_envs or len(kinds) > 1:
                raise ValueError("the actions are not those of these environments")

    def are_at(self, state: dict[str, Any], observed: Any, endings: tuple[bool | None, ...]) -> bool:
        """Return whether environments that have replayed a state's episodes agree with the state bit for bit."""
        pairs = zip(self._parts(observed), state["observations"], strict=True)
        same = all(part.tobytes() == then.tobytes() for part, then in pairs)
        return same and list(endings) == state["just_ended"].tolist()

    def _parts(self, observations: Any) -> list[np.ndarray]:
        return flatten_to(self._spec, observations)


def beginning(state: dict[str, Any]) -> Any:
    """Return `began_at` of a state. Older checkpoints lack it, because the episodes of all fits were the same."""
    return state.get("began_at", 0)
