"""The fit loop: collect, update, report; one iteration is one Keras epoch."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf
from gymnasium.vector import VectorEnv

from tf_trpo.callbacks import Progress, ReleasesResources, SavesOnFailure
from tf_trpo.environments import EnvironmentFailedError, InvalidStepError, can_reset_some
from tf_trpo.environments.state import can_save_state, load_state, save_state
from tf_trpo.rollouts import (
    Collector,
    Rollout,
    Stream,
    environment_seeds,
    make_actor,
    numpy_generator,
    operation_seed,
)
from tf_trpo.training.checkpoints import Checkpoint, CheckpointError
from tf_trpo.training.faults import FaultLog, TrainingFailedError, update_faults
from tf_trpo.training.loop_state import LoopState
from tf_trpo.training.training_report import Report

if TYPE_CHECKING:
    from tf_trpo.training.agent import TRPO


class TrainingLoop:
    """Iterations of an agent in a vector environment.

    Every random choice is a function of (seed, iteration) or of the environments' own generators, so a run can be
    repeated, and resumed, bit for bit.

    Args:
      agent: compiled.
      environments: that fit it.
      environment: their Gymnasium id; empty if they were not made from one.
      num_steps: rows of a rollout.
      seed: of environments, actions and minibatches.
      max_faults: numbers that are not finite, in a row, at which training ends, >= 1.
      restart_every: rollouts after which an environment begins another episode, each in its turn; 0 for never, >= 0.
      resumed: the checkpoint to go on from. Environments whose state it has not are reset.

    Raises:
      ValueError: restart_every is negative, or these environments can only be reset together.
      CheckpointError: it is one of another loop, or of other settings of the updates; the agent is as it was.

    Attributes:
      rollout: of the present iteration; None while it is being collected.
    """

    def __init__(
        self,
        agent: TRPO,
        environments: VectorEnv,
        *,
        environment: str,
        num_steps: int,
        seed: int,
        max_faults: int,
        restart_every: int = 0,
        resumed: Checkpoint | None = None,
    ) -> None:
        num_envs = environments.num_envs
        if restart_every < 0:
            raise ValueError(f"restart_every must not be negative, got {restart_every}")
        if restart_every and not can_reset_some(environments):
            kind = type(environments).__name__
            raise ValueError(
                f"restart_every needs environments that can be reset one by one (backend sync or async), not {kind}"
            )
        self._agent = agent
        self._environments = environments
        self._environment = environment
        self._num_steps = num_steps
        self._seed = seed
        # As they are now: callbacks may change an optimizer's.
        self._settings = _settings(agent, seed=seed, num_steps=num_steps, restart_every=restart_every)
        if resumed is not None:
            _check_resumed(resumed, environments, environment, self._settings)
        iteration = int(agent.iterations.numpy()) if resumed is None else resumed.iterations
        self._start_steps, self._start_iterations = int(agent.env_steps.numpy()), iteration
        self._actor = make_actor(agent.policy, num_envs)
        self._faults = FaultLog(max_faults)
        self._environments_whole = True
        self._restart_every = restart_every
        self._collector = Collector(environments, self._actor, seed=self._reset_seeds(iteration))
        self._discounted_returns = tf.zeros([num_envs])
        self.rollout: Rollout | None = None
        self._report = Report(num_envs)
        if resumed is not None:
            self._resume(resumed)
            # All of it is checked: the agent becomes the other one, or stays as it was.
            resumed.restore()

    def run(
        self, total_steps: int, callbacks: Sequence[keras.callbacks.Callback], verbose: int
    ) -> keras.callbacks.History:
        """Iterate until `total_steps` environment steps are taken since the fit began, or a callback stops it.

        Returns:
          The Keras History: one entry an iteration for each figure in the logs.

        Raises:
          EnvironmentFailedError: an environment raised, hung or died; callbacks have saved the agent.
          TrainingFailedError: numbers were not finite too often; likewise.
        """
        agent = self._agent
        goal = self._start_steps + total_steps
        callback_list = keras.callbacks.CallbackList(
            [*callbacks, *([Progress()] if verbose else [])],
            add_history=True,
            model=agent,
            verbose=verbose,
            epochs=self._start_iterations + math.ceil(total_steps / (self._num_steps * self._environments.num_envs)),
            steps=1,
            total_steps=goal,
        )
        agent.stop_training = False
        logs: dict[str, float] = {}
        callback_list.on_train_begin()
        # After that: a callback may have restored a backup.
        self._report.begin(int(agent.env_steps.numpy()))
        try:
            while int(agent.env_steps.numpy()) < goal and not agent.stop_training:
                iteration = int(agent.iterations.numpy())
                callback_list.on_epoch_begin(iteration)
                callback_list.on_train_batch_begin(0)
                logs = self._iterate(iteration)
                # TerminateOnNaN looks for Keras' name.
                callback_list.on_train_batch_end(0, {**logs, "loss": logs["train/value_loss"]})
                callback_list.on_epoch_end(iteration, logs)
                self._faults.check()
        except BaseException as error:
            if isinstance(error, EnvironmentFailedError | TrainingFailedError):
                self._save_on_failure(callback_list.callbacks, error)
            # Not on_train_end, which says that training is complete: BackupAndRestore deletes its backup then.
            for callback in callback_list.callbacks:
                if isinstance(callback, ReleasesResources):
                    callback.release()
            raise
        callback_list.on_train_end(logs)
        return agent.history

    def state(self) -> LoopState:
        """The loop between two iterations."""
        report, collector = self._report, self._collector
        return LoopState(
            environment=self._environment,
            settings=self._settings,
            start_steps=self._start_steps,
            start_iterations=self._start_iterations,
            elapsed=report.elapsed,
            faults=self._faults.total,
            discounted_returns=np.array(self._discounted_returns),
            observations=collector.observations.copy(),
            just_ended=collector.just_ended.copy(),
            episode_returns=report.tracker.returns.copy(),
            episode_lengths=report.tracker.lengths.copy(),
            episodes=np.array(report.episodes, np.float64).reshape(-1, 2),
            environments=save_state(self._environments) if self._can_save_environments() else None,
        )

    def _can_save_environments(self) -> bool:
        return self._environments_whole and can_save_state(self._environments)

    def _reset_seeds(self, iteration: int, attempt: int = 0) -> list[int]:
        return environment_seeds(
            self._seed, Stream.ENVIRONMENTS, self._environments.num_envs, iteration, attempt=attempt
        )

    def _save_on_failure(self, callbacks: Sequence[keras.callbacks.Callback], error: Exception) -> None:
        # They are in the middle of a rollout, if not gone.
        self._environments_whole = False
        for callback in callbacks:
            if isinstance(callback, SavesOnFailure):
                try:
                    callback.save_on_failure()
                except (OSError, CheckpointError, TrainingFailedError) as reason:
                    error.add_note(f"The agent could not be saved: {reason}")

    def _resume(self, checkpoint: Checkpoint) -> None:
        state = checkpoint.state
        self._start_steps, self._start_iterations = state.start_steps, state.start_iterations
        self._report.resume(state)
        # Those in a row are counted anew: who goes on after too many has mended their cause.
        self._faults.total = state.faults
        if state.environments is None:
            message = "the environments' state is not in the checkpoint: they are reset, and the results agree in "
            warnings.warn(f"{message}distribution with those of an uninterrupted run, not bit for bit", stacklevel=4)
            return
        try:
            load_state(self._environments, state.environments)
        except (ValueError, RecursionError, OverflowError) as error:
            raise CheckpointError(f"{checkpoint.path} is no checkpoint of this fit: {error}") from error
        self._collector.observations, self._collector.just_ended = state.observations, state.just_ended
        self._discounted_returns = tf.constant(state.discounted_returns)
        self._report.tracker.returns, self._report.tracker.lengths = state.episode_returns, state.episode_lengths

    def _iterate(self, iteration: int) -> dict[str, float]:
        agent, shape = self._agent, [self._num_steps, self._environments.num_envs]
        noise = agent.policy.action_distribution.noise(
            shape, operation_seed(self._seed, Stream.ACTIONS, iteration)
        ).numpy()
        # Just before they are used: a callback may have set them, such as one that restores a backup.
        self._actor.update_weights()
        self.rollout = None
        self.rollout = rollout = self._rollout(iteration, noise)
        orders = agent.learner.orders(math.prod(shape), numpy_generator(self._seed, Stream.MINIBATCHES, iteration))
        metrics, self._discounted_returns = agent.learner.update(rollout, self._discounted_returns, orders)
        figures = {name: float(value) for name, value in sorted(metrics.items())}
        self._faults.record(update_faults(figures), iteration=iteration, steps=int(agent.env_steps.numpy()))
        agent.env_steps.assign_add(int(rollout.valid.sum()))
        agent.iterations.assign_add(1)
        steps = int(agent.env_steps.numpy())
        return {
            **self._report.episode_figures(rollout),
            "time/total_timesteps": steps,
            "time/iterations": int(agent.iterations.numpy()),
            **self._report.time_figures(steps),
            **figures,
            "train/faults": self._faults.total,
        }

    def _restart_in_turn(self, iteration: int) -> None:
        """Begin new episodes where it is an environment's turn; what the cut ones returned is not reported."""
        since, num_envs = iteration - self._start_iterations, self._environments.num_envs
        if not self._restart_every or not since:
            return
        # Spread over the turns, whether these or the environments are more.
        chosen = (since - np.arange(num_envs) * self._restart_every // num_envs) % self._restart_every == 0
        if not chosen.any():
            return
        self._collector.restart_some(chosen)
        for column in np.flatnonzero(chosen).tolist():
            self._report.tracker.cut(column)
        self._discounted_returns = tf.where(chosen, 0.0, self._discounted_returns)

    def _rollout(self, iteration: int, noise: np.ndarray) -> Rollout:
        """The first rollout of sound numbers; after one with others, all environments begin new episodes."""
        steps = int(self._agent.env_steps.numpy())
        for attempt in itertools.count(1):
            try:
                try:
                    if attempt == 1:
                        self._restart_in_turn(iteration)
                    return self._collector.collect(noise)
                except InvalidStepError as fault:
                    self._faults.record([str(fault)], iteration=iteration, steps=steps)
                    self._faults.check()
                self._collector.restart(self._reset_seeds(iteration, attempt))
            except EnvironmentFailedError as failure:
                where = f"of the rollout of iteration {iteration}, after {steps} steps"
                raise EnvironmentFailedError(f"{failure} {where}") from failure
            self._discounted_returns = tf.zeros_like(self._discounted_returns)
            self._report.tracker.restart()
        raise AssertionError


def _settings(agent: TRPO, **own: Any) -> dict[str, Any]:
    """What the result of a fit depends on, beside environments, weights and networks: its own settings and the agent's.

    Those of a part stand under PART/NAME. The shapes of the networks are those of the weights.
    """
    settings = {**own, **dataclasses.asdict(agent.settings)}
    for part in ("policy", "value_function", "policy_optimizer", "optimizer"):
        configured = getattr(agent, part)
        settings |= _named(part, {"class": type(configured).__name__, **configured.get_config()})
    # These change no more than rounding.
    for name in ("chunk_size", "policy_optimizer/fisher_vector_product"):
        settings.pop(name, None)
    # Keras numbers the names of its objects.
    plain: dict[str, Any] = json.loads(
        json.dumps(settings, default=_as_json),
        object_hook=lambda found: {key: found[key] for key in found if key != "name"},
    )
    return plain


def _named(part: str, config: dict[str, Any]) -> dict[str, Any]:
    """The settings of a part and of the layers that a model is composed of, by PART/NAME."""
    settings: dict[str, Any] = {}
    for name, value in config.items():
        if name in ("encoder", "action_distribution"):
            settings |= _named(f"{part}/{name}", {"class": value["class_name"], **value["config"]})
        elif name not in ("name", "network"):
            settings[f"{part}/{name}"] = value
    return settings


def _as_json(value: Any) -> Any:
    """What else is no JSON is compared by its type."""
    return value.tolist() if isinstance(value, (np.generic, np.ndarray)) else type(value).__name__


def _check_resumed(checkpoint: Checkpoint, environments: VectorEnv, environment: str, settings: dict[str, Any]) -> None:
    """Refuse the checkpoint of another loop, before anything is reset."""
    state, shape = checkpoint.state, environments.single_observation_space.shape
    assert shape is not None, "make_vector_environment gives Box observations"
    try:
        if state.environment and environment and state.environment != environment:
            raise ValueError(f"it is of {state.environment}, not {environment}")
        state.check_settings(settings)
        state.check(shape, environments.num_envs)
    except ValueError as error:
        raise CheckpointError(f"{checkpoint.path} is no checkpoint of this fit: {error}") from error
