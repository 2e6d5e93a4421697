"""The agent: a policy and a value function that can be evaluated, saved and exported."""

from __future__ import annotations

import dataclasses
import itertools
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import msgspec
import numpy as np
import tensorflow as tf
from gymnasium.vector import VectorEnv

from tf_trpo.environments import ActionMasks, open_vector_environment
from tf_trpo.environments.costs import Cost, cost_labels, cost_name
from tf_trpo.environments.making import Wrapper
from tf_trpo.environments.vector import Environment
from tf_trpo.files import replaced_at_once
from tf_trpo.learning.average import WeightAverage
from tf_trpo.learning.learner import Learner
from tf_trpo.learning.settings import UpdateSettings
from tf_trpo.models import Policy, RunningReturnScale, ValueFunction
from tf_trpo.models.making import check_fit
from tf_trpo.optimizers import ALGORITHMS, PolicyOptimizer
from tf_trpo.ranges import check_whole_numbers, require
from tf_trpo.serving.export import ExportFormat, export_policy
from tf_trpo.training.checks import check_own_weights, in_this_thread, warn_of_obstacle
from tf_trpo.training.evaluation import evaluate_policy
from tf_trpo.training.faults import require_finite
from tf_trpo.training.optimizer_state import optimizer_state, restored, write_optimizer_state
from tf_trpo.training.prediction import noise_seed, predicted

if TYPE_CHECKING:
    from tf_trpo.distributions import Distribution

_MODELS = ("policy", "value_function", "cost_value_functions", "anchor")

# Keras saves policy optimizers with an agent, but their own modules do not import Keras.
for _algorithm in ALGORITHMS.values():
    keras.saving.register_keras_serializable(package="tf_trpo")(_algorithm)


class Agent(keras.Model):
    """A policy and a value function.

    Args:
      policy: observations -> distribution over actions.
      value_function: observations -> V.
      ema_momentum: momentum of the moving average of the policy's weights, in [0, 1), which is evaluated, exported and
        used by `predict`; it covers about 1 / (1 - ema_momentum) iterations. None: the policy itself is used. Training
        is the same either way. If you set the policy's weights yourself, call `average.restart()` as well.
      costs: signals of the environment in addition to the reward; see `tf_trpo.environments.Cost`.
      cost_value_functions, anchor: one value function for each cost, in order; the policy to stay near, or None.

    Attributes:
      policy, value_function, ema_momentum, costs, cost_value_functions, anchor: as given.
      average, return_scale, cost_return_scales: the `WeightAverage` or None, and running scales of rewards and costs.
      env_steps, iterations: environment steps and iterations that the agent has learned from, int64 variables.
      lock: held by a thread while it fits, clones or exports the agent; see `in_this_thread`.
      policy_optimizer, optimizer, update_settings, learner: set by `compile`; `optimizer` is the value function's.

    Raises:
      ValueError: ema_momentum is out of range, or the policy and the value function share weights: fitting the value
        function would move the policy out of its trust region.
    """

    policy_optimizer: PolicyOptimizer
    update_settings: UpdateSettings
    learner: Learner

    def __init__(
        self,
        policy: Policy,
        value_function: ValueFunction,
        *,
        ema_momentum: float | None = None,
        costs: Sequence[Cost] = (),
        cost_value_functions: Sequence[ValueFunction] = (),
        anchor: Policy | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_own_weights(policy, value_function, *cost_value_functions)
        require(len(cost_labels(costs)) == len(cost_value_functions), "costs", "one for each value function", costs)
        self.costs = tuple(costs)
        self.cost_value_functions = list(cost_value_functions)
        self.cost_return_scales = [RunningReturnScale() for _ in costs]
        self.policy = policy
        self.value_function = value_function
        self.ema_momentum = ema_momentum
        self.average = None if ema_momentum is None else WeightAverage(policy, ema_momentum)
        self.return_scale = RunningReturnScale()
        self.env_steps = self.add_weight(shape=(), dtype="int64", trainable=False, name="env_steps")
        self.iterations = self.add_weight(shape=(), dtype="int64", trainable=False, name="iterations")
        # Set last: in an agent's file, Keras numbers parts of the same class in the order in which they were set.
        self.anchor = anchor
        if anchor is not None:
            anchor.trainable = False
        self._draws, self.lock = itertools.count(), threading.RLock()
        self.built = True

    def __setattr__(self, name: str, value: Any) -> None:
        before = vars(self).get(name)
        if isinstance(before, keras.layers.Layer) and before is not value:
            # Keras itself would keep a replaced layer among the agent's weights, and append the new one's.
            if isinstance(value, keras.layers.Layer):
                self._tracker.replace_tracked_value("layers", before, value)
            else:
                self._tracker.untrack(before)
        super().__setattr__(name, value)

    def evaluate(
        self,
        environment: Environment,
        episodes: int = 20,
        *,
        stochastic: bool = False,
        num_envs: int | None = None,
        env_kwargs: Mapping[str, Any] | None = None,
        wrappers: Sequence[Wrapper] = (),
        action_masks: ActionMasks = "auto",
        info_keys: Sequence[str] = (),
        costs: Sequence[Cost] | None = None,
        max_episode_steps: int = 100_000,
        seed: int = 0,
    ) -> dict[str, float]:
        """Run whole episodes, and return statistics of the environment's own, undiscounted returns.

        Args:
          environment: a Gymnasium id, a function that makes an environment, or a vector environment.
          episodes: whole episodes to run, >= 1.
          stochastic: sample actions; by default the mode of the distribution is taken.
          num_envs: environments stepped together; by default one for each episode, at most 10.
          env_kwargs, wrappers, action_masks, info_keys: as for `make_vector_environment`.
          costs: costs to sum up over episodes; by default the agent's own costs.
          max_episode_steps: a longer episode is cut there, or up to 127 steps later, with a warning, >= 1. The next one
            begins with a reset, or, if the vector environment cannot reset one environment alone, where it was cut.
          seed: of environments and actions.

        Returns:
          mean_return, std_return (over episodes), mean_length, episodes; cost/NAME, the mean total of each cost; and
          info/KEY, the mean of each figure of info_keys over the episodes that have it.

        Raises:
          ValueError: the environment does not fit the agent, or a setting is out of range.
          EnvironmentFailedError: an environment raised, or returned a number that is not finite.
        """
        check_whole_numbers(episodes=episodes, max_episode_steps=max_episode_steps)
        if num_envs is None:
            num_envs = environment.num_envs if isinstance(environment, VectorEnv) else min(episodes, 10)
        check_whole_numbers(lowest=0, num_envs=num_envs, seed=seed)
        making: Any = {"env_kwargs": env_kwargs, "wrappers": wrappers, "action_masks": action_masks}
        making |= {"info_keys": info_keys, "costs": self.costs if costs is None else costs}
        how: Any = {"stochastic": stochastic, "seed": seed, "max_episode_steps": max_episode_steps}
        with open_vector_environment(environment, num_envs, **making) as environments:
            check_fit(self.policy, environments)
            return evaluate_policy(self.policy, self.evaluation_theta(), environments, episodes, **how)

    def call(self, observations: Any) -> Distribution:
        """Return the distribution over actions for a batch of observations, by the weights of `evaluation_theta`."""
        theta, distribution = self.evaluation_theta(), self.policy.action_distribution
        return distribution.distribution(self.policy.parameters_at(theta, observations))

    def predict(
        self,
        observations: Any,
        state: tuple[np.ndarray, ...] | None = None,
        *,
        action_mask: Any = None,
        stochastic: bool = False,
        seed: int | None = None,
    ) -> Any:
        """Return the action for one observation, or the actions for a batch, as the environment takes them.

        An agent with a memory returns a pair: action, state = agent.predict(observation, state).

        Args:
          observations: as the environment returns them: a number, an array, a dict or a tuple; or a batch, in which
            every array has one more axis in front.
          state: the memory's state that was returned for the previous observation; None at the start of an episode.
          action_mask: the environment's `action_masks()` or info["action_mask"]; for a batch, one of them for each
            observation. None if the environment masks no actions, or the mask is an entry of the observations.
          stochastic: sample; by default the mode is taken.
          seed: of the samples, in [0, 2^31), as [seed, 0] of an exported model; None: the number of the agent's call.

        Raises:
          ValueError: the observations are not in the environment's space, or the mask or the state does not fit.
        """
        drawn = noise_seed(seed, self._draws) if stochastic else None
        action, state = predicted(self.policy, self.evaluation_theta(), observations, action_mask, drawn, state)
        return action if self.policy.memory is None else (action, state)

    def export(
        self,
        path: str | os.PathLike[str],
        *,
        format: ExportFormat = "saved_model",
        environment: str | None = None,
        environment_arguments: dict[str, Any] | None = None,
        evaluation: dict[str, float] | None = None,
        warmup: bool = False,
    ) -> str:
        """Write a model for serving to PATH/VERSION; see `tf_trpo.serving.export_policy`.

        Args:
          path: folder of the model; each export adds the next version.
          format: "saved_model", "litert" or "onnx".
          environment, environment_arguments, evaluation: the Gymnasium id, the arguments it is made with (as JSON has
            them), and the result of `evaluate`, for the model's metadata.
          warmup: add warm-up requests for TensorFlow Serving (extra `warmup`).

        Raises:
          TrainingFailedError: a weight is not finite; nothing is written.
          ValueError: another thread fits, clones or exports the agent, so that its weights are not free.
        """
        require_finite({"agent": self.weights})
        with in_this_thread(self), self.policy.having(self.evaluation_theta()):
            return export_policy(
                self.policy,
                self.value_function,
                self.return_scale,
                path,
                format=format,
                warmup=warmup,
                environment=environment,
                environment_arguments=environment_arguments,
                training_steps=int(self.env_steps.numpy()),
                evaluation=evaluation,
            )

    def save(
        self, filepath: str | os.PathLike[str], overwrite: bool = True, zipped: bool | None = None, **kwargs: Any
    ) -> None:
        """Save as `keras.Model.save` does, with the policy optimizer's state; a .keras file is replaced atomically.

        If `tf_trpo.load` would refuse the file, the logger "tf_trpo" warns.

        Raises:
          ValueError: the file would be in HDF5, which cannot hold an agent.
          TrainingFailedError: a weight is not finite; nothing is written.
          OSError: the file cannot be written; an old file is unchanged.
        """
        path = os.fspath(filepath)
        if path.endswith((".h5", ".hdf5")):
            raise ValueError(f"{path}: an agent is saved as a .keras file; name it {Path(path).with_suffix('.keras')}")
        require_finite({"agent": self.weights})
        warn_of_obstacle(self, f"{path} is written")
        # Keras itself asks before it overwrites, and copies files to remote places.
        if path.endswith(".keras") and "://" not in path and overwrite and zipped is None and not kwargs:
            with replaced_at_once(Path(path)) as aside:
                super().save(aside)
        else:
            super().save(filepath, overwrite, zipped, **kwargs)

    def get_config(self) -> dict[str, Any]:
        models = {name: keras.saving.serialize_keras_object(getattr(self, name)) for name in _MODELS}
        models |= {"ema_momentum": self.ema_momentum, "costs": list(map(cost_name, self.costs))}
        return {**super().get_config(), **models}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Agent:
        return cls(**{**config, **{name: keras.saving.deserialize_keras_object(config[name]) for name in _MODELS}})

    def save_own_variables(self, store: Any) -> None:
        super().save_own_variables(store)
        write_optimizer_state(self, store)

    def load_own_variables(self, store: Any) -> None:
        """Load the variables; the state of a different policy optimizer is skipped with a warning."""
        super().load_own_variables(restored(store, optimizer_state(self)))

    def get_compile_config(self) -> dict[str, Any]:
        return {
            "policy_optimizer": keras.saving.serialize_keras_object(self.policy_optimizer),
            "value_optimizer": keras.saving.serialize_keras_object(self.optimizer),
            "jit_compile": self.jit_compile,
            "update": dataclasses.asdict(self.update_settings),
        }

    def compile_from_config(self, config: dict[str, Any]) -> None:
        settings = keras.saving.deserialize_keras_object(config)
        # The saved optimizer has the learning rate.
        update = msgspec.convert({**settings.pop("update"), "value_learning_rate": None}, UpdateSettings)
        self.compile(**settings, update=update)

    def evaluation_theta(self) -> tf.Tensor:
        """Return the trainable weights [P] that are evaluated: the moving average's, if there is one."""
        return self.policy.flat_weights if self.average is None else self.average.flat_weights(self.policy)
