"""The training loop: collect, update, report; one iteration is one Keras epoch."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tf_trpo.environments import EnvironmentFailedError
from tf_trpo.environments.failures import WorkersLostError
from tf_trpo.learning.learner import Learner
from tf_trpo.learning.results import UpdateResult
from tf_trpo.rollouts import Rollout, RolloutSource, Stream, numpy_generator
from tf_trpo.rollouts.noise import rollout_noise
from tf_trpo.rollouts.vine import Vine
from tf_trpo.training.checkpoint import check_directory, restoring, whole_number, write_checkpoint
from tf_trpo.training.collector import Collector, warn_of_new_episodes
from tf_trpo.training.faults import FaultLog, TrainingFailedError, require_finite, save_on_failure, update_faults
from tf_trpo.training.identity import check_identity
from tf_trpo.training.metrics import Logs, Report, update_logs

_logger = logging.getLogger(__name__)


class Counters(NamedTuple):
    """Counters of an agent's training: integer variables that the trainer increases."""

    env_steps: keras.Variable
    iterations: keras.Variable


class Trainer:
    """The training loop: updates a learner with rollouts from a source.

    Every random choice is a function of (seed, iteration) or, for a source made by `fit`, of (seed, first iteration,
    environment, episode), so a run can be repeated, and resumed, bit for bit.

    Args:
      learner: improves the policy and the value function.
      source: source of the rollouts.
      counters: of the agent that learns.
      num_steps: rows of a rollout.
      seed: of actions and minibatches.
      max_faults: rollouts or updates in a row with numbers that are not finite, at which training ends, >= 1.
      identity: description of the run, as JSON; a checkpoint is only continued by a run with the same one.
      costs: labels of the costs that the rollouts have.
      restart_every, vine: as for `Collector`, which also has their errors.

    Attributes:
      source: as given. `source.environments` of a `LocalSource` are the environments, which a callback may change for a
        curriculum: `params["trainer"].source.environments.unwrapped.call("set_level", 3)`.
      rollout: of the present iteration; None while it is collected, and after the fit.
      is_between_iterations: whether an iteration of this fit is complete and no other has begun, so that the state can
        be saved.
    """

    def __init__(
        self,
        learner: Learner,
        source: RolloutSource,
        counters: Counters,
        *,
        num_steps: int,
        seed: int,
        max_faults: int = 10,
        restart_every: int = 0,
        identity: dict[str, Any] | None = None,
        costs: Sequence[str] = (),
        vine: Vine | None = None,
    ) -> None:
        self._learner = learner
        self.source = source
        self._counters = counters
        self._num_steps = num_steps
        self._seed = seed
        self._faults = FaultLog(max_faults)
        self._identity = identity or {}
        self._costs, self._vine = tuple(costs), vine
        self._report = Report(source.num_envs, self.env_steps, costs)
        self._first_iteration = self.iterations
        self._collector = Collector(learner, source, self._report.tracker, self._faults, restart_every, vine)
        self.rollout: Rollout | None = None
        self.is_between_iterations = False

    @property
    def env_steps(self) -> int:
        """Environment steps of the agent."""
        return int(self._counters.env_steps.numpy())

    @property
    def iterations(self) -> int:
        """Iterations of the agent."""
        return int(self._counters.iterations.numpy())

    def goal(self, total_steps: int) -> tuple[int, int]:
        """Return the environment steps and the iterations of the agent after `total_steps` steps of this run."""
        num_envs = self.source.num_envs
        rows = self._num_steps * num_envs + (0 if self._vine is None else self._vine.most_steps(num_envs))
        return self._report.first_steps + total_steps, self._first_iteration + math.ceil(total_steps / rows)

    def run(
        self,
        callbacks: keras.callbacks.CallbackList,
        total_steps: int,
        *,
        schedule_steps: int | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        """Iterate until `total_steps` environment steps are taken since the run began, or training is stopped.

        Args:
          callbacks: called for every iteration as for an epoch.
          total_steps: >= 1.
          schedule_steps: environment steps over which schedules go from start to end, >= 1; by default total_steps.
          stopped: called before every iteration; True ends training.

        Raises:
          ValueError: a network cannot be differentiated.
          EnvironmentFailedError: an environment raised, hung or died; callbacks have saved the agent.
          TrainingFailedError: numbers were not finite too often; callbacks have saved the agent.
          Exception: a callback raised; after the first iteration, callbacks have saved the agent.
        """
        # A network that cannot be differentiated is refused before the first rollout.
        self._learner.trace(self._num_steps, self.source.num_envs, self._vine)
        goal, _ = self.goal(total_steps)
        schedule_steps = schedule_steps or total_steps
        logs: Logs = {}
        steps = self.env_steps
        callbacks.on_train_begin()
        # BackupAndRestore may have restored the agent here.
        self._report.begin(skipped=self.env_steps - steps)
        try:
            while self.env_steps < goal and not stopped():
                iteration = self.iterations
                callbacks.on_epoch_begin(iteration)
                callbacks.on_train_batch_begin(0)
                result, logs = self._iterate(iteration, self._progress(schedule_steps))
                # TerminateOnNaN looks for Keras' name.
                loss = result.value.loss
                callbacks.on_train_batch_end(0, logs if loss is None else {**logs, "loss": float(loss)})
                # The agent that callbacks evaluate and save acts as it will in the next iteration.
                self._learner.policy.action_distribution.follow_schedule(self._progress(schedule_steps))
                callbacks.on_epoch_end(iteration, logs)
                self._faults.check()
            self._warn_of_missing_figures()
            callbacks.on_train_end(logs)
        except Exception as error:
            # Not on_train_end, which means that training is complete: BackupAndRestore would delete its backup.
            if self._can_save_after(error):
                save_on_failure(callbacks.callbacks, error)
            raise
        finally:
            # The history of the fit keeps this trainer, and a rollout of images may have hundreds of megabytes.
            self.rollout = None

    def state(self) -> dict[str, Any]:
        """Return all that `restore` needs, between two iterations, as numbers, text and arrays."""
        return {
            "identity": self._identity,
            "env_steps": self.env_steps,
            "iterations": self.iterations,
            "first_iteration": self._first_iteration,
            "faults": self._faults.total,
            "faults_in_a_row": self._faults.in_a_row,
            "carry": self._collector.state(),
            "learner": self._learner.state(),
            "source": self.source.state(),
            "report": self._report.state(),
        }

    def save_checkpoint(self, directory: Path, *, keep: int = 2, **how: bool) -> Path:
        """Write the state to DIRECTORY/steps-N.ckpt; for the arguments and the other errors, see `write_checkpoint`.

        Raises:
          TrainingFailedError: a weight is not finite; nothing is written.
        """
        require_finite(self._learner.variables())
        return write_checkpoint(self.state(), directory, self.env_steps, keep=keep, **how)

    def check_directory(self, directory: Path) -> None:
        """Raise CheckpointError if this run must not write its checkpoints to a folder."""
        check_directory(directory, self.env_steps)

    def resume(self, path: Path) -> None:
        """Continue a run from a checkpoint, or from the newest intact one of a folder.

        Raises:
          CheckpointError: there is none, or it is one of another run; the agent is unchanged.
          EnvironmentFailedError: an environment cannot be reset.
        """
        with restoring(path, "run") as state:
            self.restore(state)

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a state; all parts are checked before the first variable is assigned.

        Raises:
          ValueError, LookupError, TypeError, AttributeError: the state does not fit this run.
        """
        check_identity(state["identity"], self._identity)
        self._learner.check_state(state["learner"])
        carry = state["carry"]
        env_steps, iterations, first_iteration, faults, in_a_row = (
            whole_number(state[name])
            for name in ("env_steps", "iterations", "first_iteration", "faults", "faults_in_a_row")
        )
        first_steps = whole_number(state["report"]["first_steps"])
        if not (first_steps <= env_steps and first_iteration <= iterations):
            raise ValueError(f"its counters ({env_steps} steps, {iterations} iterations) are impossible")
        self._collector.check_state(carry)
        exact = self.source.restore(state["source"])
        self._report.restore(state["report"], unfinished=exact)
        self._learner.restore(state["learner"])
        self._counters.env_steps.assign(env_steps)
        self._counters.iterations.assign(iterations)
        self._first_iteration, self._faults.total, self._faults.in_a_row = first_iteration, faults, in_a_row
        if exact:
            self._collector.restore(carry)
        else:
            warn_of_new_episodes()

    def _warn_of_missing_figures(self) -> None:
        for message in () if self.rollout is None else self._report.missing(self.rollout, steps=self.env_steps):
            _logger.warning(message)

    def _can_save_after(self, error: Exception) -> bool:
        """Return whether the state after an error is that of whole iterations."""
        if isinstance(error, WorkersLostError):
            # In the middle of an iteration, an earlier checkpoint can be resumed exactly.
            updating = self.rollout is not None and not self.is_between_iterations
            return not (updating or self._collector.has_restarted)
        return self.is_between_iterations or isinstance(error, EnvironmentFailedError | TrainingFailedError)

    def _progress(self, schedule_steps: int) -> float:
        """Return the fraction of the schedules that is over, in [0, 1]."""
        return min(1.0, (self.env_steps - self._report.first_steps) / schedule_steps)

    def _iterate(self, iteration: int, progress: float) -> tuple[UpdateResult, Logs]:
        learner, shape = self._learner, (self._num_steps, self.source.num_envs)
        distribution = learner.policy.action_distribution
        distribution.follow_schedule(progress)
        noise = rollout_noise(self._vine, distribution, *shape, self._seed, iteration)
        self.rollout, self.is_between_iterations = None, False
        turn = iteration - self._first_iteration
        rollout = self._collector.collect(noise, turn=turn, iteration=iteration, steps=self.env_steps)
        self.rollout = rollout
        generator = numpy_generator(self._seed, Stream.MINIBATCHES, iteration)
        orders = learner.orders(self._num_steps, self.source.num_envs, generator)
        self._report.add(rollout)
        totals = [self._report.cost_totals()] if self._costs else []
        inputs = (rollout, self._collector.carry, orders, tf.constant(progress, tf.float64), *totals)
        result, self._collector.carry = learner.update(*inputs)
        self._faults.record(update_faults(result), iteration=iteration, steps=self.env_steps)
        self._counters.env_steps.assign_add(rollout.env_steps)
        self._counters.iterations.assign_add(1)
        self.is_between_iterations = True
        logs = self._report.logs(steps=self.env_steps, iterations=self.iterations)
        logs |= {**update_logs(result, self._costs), **learner.traffic}
        return result, {**logs, "train/faults": self._faults.total}
