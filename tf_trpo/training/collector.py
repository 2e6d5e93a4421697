"""Collection of a fit's rollouts: restarts, faults, and the state carried from one rollout to the next."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import tensorflow as tf

from tf_trpo.environments import EnvironmentFailedError, InvalidStepError
from tf_trpo.learning.learner import Learner
from tf_trpo.learning.samples import restarted
from tf_trpo.ranges import check_whole_numbers
from tf_trpo.rollouts import EpisodeTracker, LocalSource, Rollout, RolloutSource
from tf_trpo.rollouts.vine import Vine
from tf_trpo.training.faults import FaultLog

_logger = logging.getLogger(__name__)


class Collector:
    """Collects rollouts of finite numbers, and carries the state of each environment from one rollout to the next.

    Args:
      learner: has the policy that acts, and makes the first carry.
      source: source of the rollouts.
      tracker: tracks the returns of the unfinished episodes.
      faults: counts the rollouts that are not finite.
      restart_every: number of rollouts after which an environment begins another episode, each environment in turn; 0:
        never.
      vine: number and length of the branches for which the source was made; None without branches.

    Attributes:
      carry: the environments' `Carry`: input of the next update, and then replaced by the update's result.
      has_restarted: whether environments began new episodes in their turn before the last rollout.

    Raises:
      ValueError: restart_every is negative, or there are branches and the source is not a `LocalSource`.
    """

    def __init__(
        self,
        learner: Learner,
        source: RolloutSource,
        tracker: EpisodeTracker,
        faults: FaultLog,
        restart_every: int,
        vine: Vine | None,
    ) -> None:
        check_whole_numbers(lowest=0, restart_every=restart_every)
        if vine is not None and not isinstance(source, LocalSource):
            raise ValueError("only a LocalSource, which was made for them, has branches")
        self._learner, self._source, self._tracker, self._faults = learner, source, tracker, faults
        self._restart_every = restart_every
        self.carry: Any = learner.first_carry(source.num_envs)
        self.has_restarted = False

    def collect(self, noise: tuple[Any, ...], *, turn: int, iteration: int, steps: int) -> Rollout:
        """Return the first rollout that is finite; after one that is not, all environments begin new episodes.

        Args:
          noise: noise of the rollout, as `rollout_noise` returns it.
          turn: number of earlier rollouts of this run.
          iteration, steps: iterations and environment steps of the agent so far, for messages.

        Raises:
          EnvironmentFailedError: an environment raised, hung or died.
          TrainingFailedError: too many rollouts in a row were not finite.
        """
        self.has_restarted = False
        try:
            self._restart_in_turn(turn)
            while (rollout := self._finite_rollout(noise, iteration, steps)) is None:
                self._source.restart()
                self.carry = self._learner.first_carry(self._source.num_envs)
                self._tracker.restart()
        except EnvironmentFailedError as failure:
            where = f"in the rollout of iteration {iteration}, after {steps} steps"
            raise type(failure)(f"{failure}, {where}") from failure
        if np.any(rollout.begun):
            self._cut(np.asarray(rollout.begun))
            warn_of_new_episodes()
        return rollout

    def state(self) -> list[np.ndarray]:
        """Return the carry as arrays."""
        return [np.array(part.numpy()) for part in tf.nest.flatten(self.carry)]

    def check_state(self, carry: list[np.ndarray]) -> None:
        """Raise ValueError if a carry is not finite, or belongs to other environments or models."""
        own = tf.nest.flatten(self.carry)
        kinds = [(tuple(part.shape), np.dtype(part.dtype.as_numpy_dtype)) for part in own]
        fits = [(part.shape, part.dtype) for part in carry] == kinds
        if not (fits and all(np.isfinite(part).all() for part in carry)):
            raise ValueError("its discounted returns or its memories do not fit these environments")

    def restore(self, carry: list[np.ndarray]) -> None:
        """Continue from a carry that `check_state` accepts."""
        self.carry = tf.nest.pack_sequence_as(self.carry, list(map(tf.constant, carry)))

    def _finite_rollout(self, noise: tuple[Any, ...], iteration: int, steps: int) -> Rollout | None:
        """Return a rollout, or None after a fault: a number that is not finite. Raise after too many in a row."""
        try:
            return self._source.collect([weight.numpy() for weight in self._learner.policy.weights], *noise)
        except InvalidStepError as fault:
            self._faults.record([str(fault)], iteration=iteration, steps=steps)
            self._faults.check()
            return None

    def _restart_in_turn(self, turn: int) -> None:
        """Begin new episodes in the environments whose turn it is; the episodes that this cuts off are not reported."""
        num_envs = self._source.num_envs
        if not self._restart_every or not turn:
            return
        # The environments are spread evenly over the turns, even if there are fewer environments than turns.
        chosen = (turn - np.arange(num_envs) * self._restart_every // num_envs) % self._restart_every == 0
        if not chosen.any():
            return
        self.has_restarted = True
        self._source.restart_some(chosen)
        self._cut(chosen)

    def _cut(self, chosen: np.ndarray) -> None:
        """Forget the unfinished episodes of the chosen environments, bool [B], which have begun new episodes."""
        for column in np.flatnonzero(chosen).tolist():
            self._tracker.cut(column)
        self.carry = restarted(self.carry, self._learner.first_carry(self._source.num_envs), chosen)


def warn_of_new_episodes() -> None:
    """Warn that the unfinished episodes are lost."""
    _logger.warning(
        "the environments begin new episodes: from here on, the results agree with an uninterrupted run's in "
        "distribution only"
    )
