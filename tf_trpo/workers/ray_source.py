"""A source of rollouts whose environments are stepped by workers; the results are bit for bit those of one process."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from tf_trpo.environments import EnvironmentFailedError, InvalidStepError
from tf_trpo.rollouts.shards import shard_rows
from tf_trpo.rollouts.stepping import Rollout
from tf_trpo.rollouts.unfinished import UnfinishedEpisodes, beginning
from tf_trpo.spaces import Spec, flatten_to, nest_of
from tf_trpo.workers.crew import Crew
from tf_trpo.workers.scheduling import Scheduler
from tf_trpo.workers.worker import Answer, Call, Setup

_logger = logging.getLogger(__name__)
INEXACT = "and the results agree with those of one process in distribution only"


class RaySource:
    """A `RolloutSource` whose shards are stepped by workers.

    Each shard of a rollout is a function of the weights, the shard's noise and its unfinished episodes. So the rollouts
    are bit for bit those of a `LocalSource` whose actor has the same shards. They do not depend on which worker steps a
    shard, or on how often it is stepped. A `LocalSource` with the same shards can restore the states, and the reverse.

    Args:
      setup: everything that a worker needs to step a shard.
      spec: spec of one observation.
      crew: the workers; closed with the source.
      shards: number of shards.
      allow_different: also use workers whose computations differ from this process's.

    Attributes:
      episodes: the unfinished episodes of all shards.
      crew: the workers.

    Raises:
      ValueError: a worker has other versions, or its computations differ.
      EnvironmentFailedError: an environment cannot be made or reset.
    """

    def __init__(self, setup: Setup, spec: Spec, crew: Crew, shards: int, *, allow_different: bool = False) -> None:
        self.num_envs = shards * setup.num_envs
        self._setup, self._spec, self.crew = setup, spec, crew
        self._rows = shard_rows(self.num_envs, shards)
        self._allow_different = allow_different
        self._begun = np.zeros(self.num_envs, bool)
        """Environments that have begun new episodes since the last rollout because their own episodes were lost."""
        try:
            self._expected = setup.fingerprint()
            self._repeatable = setup.repeats(self._expected)
            if not self._repeatable:
                _logger.warning(
                    "the environment does something else when it is played again with the same seed: new episodes "
                    "replace the unfinished ones of a lost worker, %s",
                    INEXACT,
                )
            self._scheduler = Scheduler(crew, self._refusal)
            first = tuple(np.concatenate([part] * shards) for part in setup.actor.initial_states)
            self.episodes = UnfinishedEpisodes(spec, first, self.num_envs, began_at=setup.began_at)
            self._begin(np.zeros(self.num_envs, np.int64))
        except BaseException:
            crew.close()
            raise

    def collect(self, weights: Sequence[np.ndarray], noise: np.ndarray) -> Rollout:
        shared = self.crew.share(list(weights))
        given = [(np.ascontiguousarray(noise[:, rows]),) for rows in self._rows]
        answers = self._play("collect", dict(enumerate(given)), shared, most_begun=len(noise))
        rollout: Rollout = _joined([answer.value for answer in answers])
        lost = self._inexact(dict(enumerate(answers)))
        if lost.any():
            first = [part[0] for part in flatten_to(self._spec, rollout.observations)]
            self.episodes.begin_next(lost, nest_of(self._spec, first))
        self.episodes.follow(rollout)
        begun, self._begun = self._begun | lost, np.zeros(self.num_envs, bool)
        return rollout._replace(begun=begun) if begun.any() else rollout

    def restart(self) -> None:
        self._begin(self.episodes.numbers + 1)

    def restart_some(self, chosen: np.ndarray) -> None:
        arguments = {shard: (chosen[rows],) for shard, rows in enumerate(self._rows) if chosen[rows].any()}
        answers = dict(zip(arguments, self._play("restart_some", arguments), strict=True))
        lost = self._inexact(answers)
        present = [part.copy() for part in flatten_to(self._spec, self.episodes.observations)]
        for shard, answer in answers.items():
            for part, new in zip(present, flatten_to(self._spec, answer.value), strict=True):
                part[self._rows[shard]] = new
        for which in (lost, chosen):
            self.episodes.begin_next(which, nest_of(self._spec, present))
        # The caller knows that the chosen environments begin new episodes.
        self._begun = (self._begun | lost) & ~chosen

    def state(self) -> dict[str, Any]:
        return self.episodes.state()

    def restore(self, state: dict[str, Any]) -> bool:
        self.episodes.check(state)
        if state["actions"] is not None:
            self.episodes.restore(state)
            try:
                answers = self._play("find", dict.fromkeys(range(len(self._rows)), ()))
            except EnvironmentFailedError as error:
                _logger.warning("the unfinished episodes cannot be played again: %s", error)
                answers = [Answer(exact=False)]
            if all(answer.exact for answer in answers):
                return True
        self.episodes.began_at = beginning(state)
        self._begin(state["episodes"] + 1)
        return False

    def close(self) -> None:
        self.crew.close()

    def _begin(self, numbers: np.ndarray) -> None:
        """Begin the episodes with the given numbers, int64 [B], in all environments."""
        self.episodes.numbers, self.episodes.failed = numbers.copy(), True
        arguments = {shard: (numbers[rows], self.episodes.began_at) for shard, rows in enumerate(self._rows)}
        answers = self._play("begin", arguments)
        self.episodes.begin(_joined([answer.value for answer in answers], axis=0))
        self._begun[:] = False

    def _play(
        self,
        work: Literal["begin", "collect", "restart_some", "find"],
        arguments: Mapping[int, tuple[Any, ...]],
        shared: Any = None,
        most_begun: int = 1,
    ) -> list[Answer]:
        """Let shards do work. If any failed, raise, after all answers, the error that one process would have raised.

        Then the episodes are given up, and with them those that the work has begun: at most `most_begun` in each
        environment. If no worker is left, the environments are not to blame, and their episodes can be replayed.
        """

        def state_of(shard: int) -> dict[str, Any]:
            state = self.episodes.state(self._rows[shard])
            # A replay compares observations only, and the rewards of such environments may differ as well.
            return state if self._repeatable or work == "find" else {**state, "actions": None}

        calls = [
            Call(shard, work, given, None if work == "begin" else self.episodes.digest(self._rows[shard]))
            for shard, given in arguments.items()
        ]
        answers = self._scheduler.play(calls, state_of, shared, move=self._repeatable)
        try:
            _raise_first(calls, answers, self._setup.num_envs)
        except (EnvironmentFailedError, InvalidStepError):
            self.episodes.give_up(most_begun)
            raise
        return answers

    def _inexact(self, answers: Mapping[int, Answer]) -> np.ndarray:
        """Return which environments' episodes were lost, bool [B]."""
        lost = np.zeros(self.num_envs, bool)
        for shard, answer in answers.items():
            lost[self._rows[shard]] = not answer.exact
        return lost

    def _refusal(self, worker: int, fingerprint: Mapping[str, str]) -> str | None:
        """Return the reason why a worker must not be used, or None."""
        differing = [
            f"its {name} is {fingerprint.get(name)}, here {here}"
            for name, here in self._expected.items()
            if fingerprint.get(name) != here and (self._repeatable or name != "probe rollout")
        ]
        if not differing:
            return None
        what = f"worker {worker} does not compute as this process does: {'; '.join(differing)}"
        if self._allow_different:
            _logger.warning("%s; it is allowed, %s", what, INEXACT)
            return None
        return f"{what}; allow_different_workers allows it"


def _raise_first(calls: Sequence[Call], answers: Sequence[Answer], num_envs: int) -> None:
    """Raise the error that a single process with all environments would have raised first, if any."""
    failures = []
    for call, answer in zip(calls, answers, strict=True):
        error = answer.error
        if isinstance(error, EnvironmentFailedError | InvalidStepError):
            # In the same row, a step that raised comes first: its numbers were never seen.
            row = float("inf") if error.row is None else error.row
            failures.append((row, isinstance(error, InvalidStepError), call.shard, error))
        elif error is not None:
            raise error
    if failures:
        row, _, shard, error = min(failures)
        where = f" (counted from environment {shard * num_envs})" if shard else ""
        failure = type(error)(f"{error}{where}")
        failure.row = error.row
        raise failure from error


def _joined(parts: Sequence[Any], axis: int = 1) -> Any:
    """Concatenate equal nests of arrays along the environments' axis."""
    first = parts[0]
    if isinstance(first, dict):
        return {name: _joined([part[name] for part in parts], axis) for name in first}
    if isinstance(first, tuple):
        joined = [_joined(each, axis) for each in zip(*parts, strict=True)]
        return type(first)(*joined) if hasattr(first, "_fields") else tuple(joined)
    return np.concatenate(parts, axis=axis)
