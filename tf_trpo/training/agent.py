"""The agent: a Keras model with compile, fit, evaluate, predict, save and export of its own."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_trpo.distributions.tfp import Distribution
from tf_trpo.environments import VectorBackend, open_vector_environment
from tf_trpo.environments.mirrors import mirror_of
from tf_trpo.environments.vector import Environment
from tf_trpo.files import replaced_at_once
from tf_trpo.models import (
    MirrorSymmetry,
    Policy,
    PolicyAverage,
    PolicySettings,
    RunningReturnScale,
    ValueFunction,
    ValueSettings,
)
from tf_trpo.models.making import check_fit, make_policy, make_value_function
from tf_trpo.optimizers import KLPenalty, PolicyOptimizer, TrustRegion
from tf_trpo.rollouts import Rollout
from tf_trpo.serving.export import ExportFormat, export_policy
from tf_trpo.serving.metadata import Origin
from tf_trpo.training.checkpoints import check_directory, read_checkpoint, write_checkpoint
from tf_trpo.training.evaluation import Evaluation, evaluate_policy
from tf_trpo.training.faults import require_finite
from tf_trpo.training.learner import Learner, UpdateSettings
from tf_trpo.training.policy_optimizer_state import load_policy_optimizer, own_variables, save_policy_optimizer
from tf_trpo.training.trainer import TrainingLoop


@keras.saving.register_keras_serializable(package="tf_trpo")
class TRPO(keras.Model):
    """Trust Region Policy Optimization: a policy and a value function that learn from an environment.

    The algorithm is the policy optimizer that the agent is compiled with: `TrustRegion` makes it TRPO, and
    the others of `tf_trpo.optimizers` what they are named after. All the rest is the same.

        agent = tf_trpo.TRPO.for_env("Hopper-v5")
        agent.compile(policy_optimizer=tf_trpo.optimizers.TrustRegion(max_kl=0.01))
        history = agent.fit("Hopper-v5", total_steps=1_000_000)

    Args:
      policy: observations -> distribution over actions.
      value_function: observations -> V.
      ema_momentum: evaluate, predict by and export the exponential moving average of the policy's weights, in which
        the last 1 / (1 - ema_momentum) iterations count, in [0, 1); None for the policy itself. The policy that acts in
        training, and learns, is the same either way. Its config must make it again.

    Raises:
      ValueError: ema_momentum is out of range, or the policy's config makes another one; or the two share weights:
        fitting the one would move the other out of its trust region.

    Source:
      Schulman et al. (2015), "Trust Region Policy Optimization"; lecture, Algorithm 1; the average: `PolicyAverage`.
    """

    def __init__(
        self, policy: Policy, value_function: ValueFunction, *, ema_momentum: float | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if {id(v) for v in policy.trainable_variables} & {id(v) for v in value_function.trainable_variables}:
            raise ValueError("the policy and the value function share trainable weights; give each its own network")
        self.policy = policy
        self.value_function = value_function
        self.ema_momentum = ema_momentum
        self.policy_average = None if ema_momentum is None else PolicyAverage(policy, ema_momentum)
        self.return_scale = RunningReturnScale()
        self.env_steps = self.add_weight(shape=(), dtype="int64", trainable=False, name="env_steps")
        self.iterations = self.add_weight(shape=(), dtype="int64", trainable=False, name="iterations")
        self._loop: TrainingLoop | None = None
        self.built = True

    @classmethod
    def for_env(
        cls,
        environment: Environment,
        *,
        network: keras.Model | None = None,
        value_network: keras.Model | None = None,
        hidden_sizes: Sequence[int] = (64, 64),
        value_hidden_sizes: Sequence[int] = (64, 64),
        activation: str = "tanh",
        state_dependent_std: bool = False,
        initial_std: float = 1.0,
        learned_std: bool = True,
        clipped_likelihood: bool = False,
        normalize_observations: bool = True,
        observation_min_std: float = 0.0,
        mirror: MirrorSymmetry | bool = False,
        function_preserving: bool = True,
        ema_momentum: float | None = None,
        seed: int | None = None,
        env_kwargs: Mapping[str, Any] | None = None,
    ) -> TRPO:
        """Make an agent for an environment's spaces, compiled with the default settings.

        Args:
          environment: a Gymnasium id, a function that makes an environment, or a vector environment.
          network: any keras.Model from observations [N, ...] to features [N, F] for the policy; by
            default an MLP.
          value_network: the same for the value function.
          hidden_sizes: layers of the policy's MLP.
          value_hidden_sizes: layers of the value function's MLP.
          activation: of both MLPs.
          state_dependent_std: let the Gaussian's standard deviation depend on the observation.
          initial_std: the Gaussian's standard deviation at the start, > 0, in action units.
          learned_std: let the policy optimizer move it; else it stays, or follows a callback `AnnealedStd`.
          clipped_likelihood: score the Gaussian's actions as the environment sees them, clipped to its bounds: less
            variance where many lie beyond; see `Gaussian`.
          normalize_observations: running normalisation inside both models.
          observation_min_std: features that spread less are divided by this, >= 0, and not made to spread by 1.
          mirror: a reflection of the environment that policy and value function respect; True for the one that is
            known of a Gymnasium id (`tf_trpo.environments.known_mirror`).
          function_preserving: keep new statistics from moving the policy: its first layer takes the change in.
          ema_momentum: evaluate and export the average of the policy's weights over iterations; see `TRPO`.
          seed: makes the initial weights reproducible.
          env_kwargs: arguments for the environment, with an id.

        Raises:
          ValueError: a space or an autoreset mode that is not supported, or a setting out of range.
        """
        with open_vector_environment(environment, 1, env_kwargs=env_kwargs) as environments:
            spaces = environments.single_observation_space, environments.single_action_space
        settings = PolicySettings(
            hidden_sizes=tuple(hidden_sizes),
            activation=activation,
            initial_std=initial_std,
            final_std=None if learned_std else initial_std,
            state_dependent_std=state_dependent_std,
            clipped_likelihood=clipped_likelihood,
            normalize_observations=normalize_observations,
            observation_min_std=observation_min_std,
            function_preserving=function_preserving,
        )
        shared: dict[str, Any] = {"mirror": mirror_of(environment, mirror), "seed": seed}
        policy = make_policy(settings, *spaces, network=network, **shared)
        value_settings = ValueSettings(tuple(value_hidden_sizes))
        value_function = make_value_function(settings, value_settings, spaces[0], network=value_network, **shared)
        agent = cls(policy, value_function, ema_momentum=ema_momentum)
        agent.compile()
        return agent

    def compile(
        self,
        policy_optimizer: PolicyOptimizer | None = None,
        value_optimizer: keras.optimizers.Optimizer | str | None = None,
        *,
        jit_compile: bool = True,
        **settings: Any,
    ) -> None:
        """Choose how to learn.

        Args:
          policy_optimizer: the algorithm; by default `TrustRegion()`.
          value_optimizer: any Keras optimizer; by default Adam with learning rate 1e-3.
          jit_compile: compile the update by XLA; without it the results agree to rounding.
          **settings: gamma, gae_lambda, value_epochs, ... : the attributes of `UpdateSettings`.

        Raises:
          ValueError, TypeError: a setting out of range or unknown.
        """
        unknown = set(settings) - {field.name for field in dataclasses.fields(UpdateSettings)}
        if unknown:
            raise TypeError(f"compile has no settings {sorted(unknown)}; see its policy_optimizer and value_optimizer")
        if policy_optimizer is not None and not isinstance(policy_optimizer, PolicyOptimizer):
            raise TypeError(f"policy_optimizer must be a PolicyOptimizer, got {policy_optimizer!r}")
        self.policy_optimizer = TrustRegion() if policy_optimizer is None else policy_optimizer
        self.policy_optimizer.build(self.policy)
        self.optimizer = keras.optimizers.get(value_optimizer or keras.optimizers.Adam(1e-3))
        self.optimizer.build(self.value_function.trainable_variables)
        self.settings = UpdateSettings(**settings)
        _check_discount(self.policy_optimizer, self.settings.gamma)
        self.jit_compile = jit_compile
        self.learner = Learner(
            self.policy,
            self.value_function,
            self.return_scale,
            self.policy_optimizer,
            self.optimizer,
            self.settings,
            policy_average=self.policy_average,
            jit_compile=jit_compile,
        )
        self.compiled = True

    def fit(
        self,
        environment: Environment,
        total_steps: int,
        *,
        num_envs: int = 1,
        num_steps: int = 2048,
        backend: VectorBackend = "sync",
        env_kwargs: Mapping[str, Any] | None = None,
        env_timeout: float = 300.0,
        seed: int = 0,
        callbacks: Sequence[keras.callbacks.Callback] | keras.callbacks.Callback = (),
        verbose: int = 1,
        max_faults: int = 10,
        restart_every: int = 0,
        resume_from: str | os.PathLike[str] | None = None,
    ) -> keras.callbacks.History:
        """Train for at least `total_steps` environment steps, in whole iterations.

        An iteration collects num_steps rows from each environment, improves the policy and fits the
        value function. To callbacks it is an epoch. Fitting again goes on from where the agent is.

        Args:
          environment: a Gymnasium id, a function that makes an environment, or a vector environment.
          total_steps: environment steps to take, >= 1.
          num_envs: environments stepped together.
          num_steps: rows of a rollout, for each environment and iteration, >= 1.
          backend: "sync", "async" or "envpool".
          env_kwargs: arguments for the environment, with an id.
          env_timeout: seconds that a step of all environments may take with the backend "async", > 0.
          seed: of environments, actions and minibatches; same seed, same weights.
          callbacks: any Keras callbacks.
          verbose: 1 shows progress, 0 nothing.
          max_faults: rollouts or updates in a row with numbers that are not finite, at which training ends, >= 1.
            Nothing is learned from such a rollout, and such a part of an update changes nothing; each is a
            warning of the logger "tf_trpo" and counted in the logs as train/faults.
          restart_every: rollouts after which an environment begins another episode, each environment in its turn;
            0: only when one ends. The first turns follow each other, so some come sooner. Episodes that all last until
            the same time limit would else begin at once for ever, and rollouts shorter than they are show one part of
            them at a time (Bharthulwar et al., Staggered Environment Resets Improve Massively Parallel On-Policy
            Reinforcement Learning, 2025). The return of an episode that is cut is bootstrapped and not reported:
            rollout/ep_rew_mean then leaves out more of the long ones, and where restart_every rollouts are shorter than
            an episode, all of them. Backends "sync" and "async".
          resume_from: folder of checkpoints that a `tf_trpo.callbacks.Checkpoint` has written during a fit
            with the same arguments: the fit goes on from the newest whole one, as if it had never ended; or
            one of them, DIRECTORY/steps-N.
            Where the environments' state can be saved (Gymnasium's classic control, MuJoCo and toy text, backend
            "sync"), the weights are bit for bit those of a fit that was not interrupted; else the environments
            are reset, and the results agree in distribution only.

        Returns:
          A Keras History; `history.history["rollout/ep_rew_mean"]` and so on.

        Raises:
          ValueError: the environment does not fit the agent, or a setting out of range.
          CheckpointError: no checkpoint is whole, or it is one of another agent or fit; this one is as it was.
          EnvironmentFailedError: an environment raised, hung or died; a `Checkpoint` among the callbacks has saved the
            agent as it was after the last iteration.
          TrainingFailedError: there were max_faults in a row; likewise.
        """
        if total_steps < 1 or num_steps < 1:
            raise ValueError(f"total_steps and num_steps must be at least 1, got {total_steps} and {num_steps}")
        with open_vector_environment(
            environment, num_envs, backend=backend, seed=seed, env_kwargs=env_kwargs, timeout=env_timeout
        ) as environments:
            check_fit(self.policy, environments)
            resumed = None if resume_from is None else read_checkpoint(self, Path(resume_from))
            self._loop = TrainingLoop(
                self,
                environments,
                environment=environment if isinstance(environment, str) else "",
                num_steps=num_steps,
                seed=seed,
                max_faults=max_faults,
                restart_every=restart_every,
                resumed=resumed,
            )
            callbacks = [callbacks] if isinstance(callbacks, keras.callbacks.Callback) else callbacks
            try:
                return self._loop.run(total_steps, callbacks, verbose)
            finally:
                self._loop = None

    # Not a property: Keras saves what an attribute holds, here once the one policy and once the other.
    def evaluation_policy(self) -> Policy:
        """The policy that is evaluated, predicted by and exported.

        With an ema_momentum, the average from the first iteration on; weights that are assigned to `policy` after that
        are part of it only as far as the next iterations take them in. Else, and before, `policy`.
        """
        average = self.policy_average
        return self.policy if average is None or int(average.updates.numpy()) == 0 else average.policy

    @property
    def rollout(self) -> Rollout | None:
        """What the present iteration of a fit has collected; for callbacks, at an epoch's end. None outside a fit."""
        return None if self._loop is None else self._loop.rollout

    def load_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Set the agent to where it was when a checkpoint was written.

        Args:
          path: a checkpoint DIRECTORY/steps-N, or the DIRECTORY for its newest whole one.

        Raises:
          CheckpointError: it is not whole, or one of another agent by its variables' shapes; this one is as it was.
            What has none, as an activation or a mirror, is not compared.
        """
        read_checkpoint(self, Path(path)).restore()

    def save_checkpoint(self, directory: str | os.PathLike[str], *, keep: int = 2) -> Path:
        """Write all that a fit needs to go on to DIRECTORY/steps-N; for callbacks, at an epoch's end.

        Args:
          directory: of the checkpoints; made when missing.
          keep: the newest ones that stay, >= 1.

        Returns:
          The checkpoint's folder.

        Raises:
          RuntimeError: no fit is running.
          OSError: it cannot be written; older ones are as they were.
          CheckpointError: as `check_checkpoints`, or what was written does not read back; likewise.
        """
        if self._loop is None:
            raise RuntimeError("a checkpoint is saved during a fit; agent.save keeps an agent")
        return write_checkpoint(self, self._loop.state(), Path(directory), keep=keep)

    def check_checkpoints(self, directory: str | os.PathLike[str]) -> None:
        """Refuse a folder that this agent's checkpoints should not go to; for callbacks, before training.

        Raises:
          CheckpointError: it is a link, or holds whole checkpoints of more steps than the agent has.
        """
        check_directory(Path(directory), int(self.env_steps.numpy()))

    def evaluate(
        self,
        environment: Environment,
        episodes: int = 20,
        *,
        stochastic: bool = False,
        num_envs: int | None = None,
        env_kwargs: Mapping[str, Any] | None = None,
        max_episode_steps: int = 100_000,
        seed: int = 0,
    ) -> dict[str, float]:
        """Run whole episodes and report the environment's own, undiscounted returns.

        Args:
          environment: as for `fit`.
          episodes: whole episodes to run, >= 1.
          stochastic: sample actions; by default the mode of the distribution is taken.
          num_envs: environments stepped together; by default one for each episode, 10 at most.
          env_kwargs: arguments for the environment, with an id.
          max_episode_steps: a longer episode is cut in pieces of about this length, >= 1, each counted as an
            episode; there is a warning then.
          seed: of environments and actions.

        Returns:
          mean_return, std_return (over episodes), mean_length, episodes.

        Raises:
          ValueError: the environment does not fit the agent, or a setting out of range.
          EnvironmentFailedError: an environment raised, or gave what is not finite.
        """
        if episodes < 1:
            raise ValueError(f"episodes must be at least 1, got {episodes}")
        if max_episode_steps < 1:
            raise ValueError(f"max_episode_steps must be at least 1, got {max_episode_steps}")
        num_envs = min(episodes, 10) if num_envs is None else num_envs
        with open_vector_environment(environment, num_envs, env_kwargs=env_kwargs) as environments:
            check_fit(self.policy, environments)
            evaluation: Evaluation = evaluate_policy(
                self.evaluation_policy(),
                environments,
                episodes,
                stochastic=stochastic,
                seed=seed,
                max_episode_steps=max_episode_steps,
            )
        return evaluation._asdict()

    def call(self, observations: tf.Tensor) -> Distribution:
        """Distribution over actions for observations [N, ...], that of `evaluation_policy`."""
        average = self.policy_average
        if average is None:
            return self.policy(observations)
        # Whichever it is when a call runs, not when it is traced.
        parameters = tf.cond(
            average.updates.value > 0,
            lambda: average.policy.distribution_parameters(observations),
            lambda: self.policy.distribution_parameters(observations),
        )
        return self.policy.action_distribution.distribution(parameters)

    def predict(self, observations: np.ndarray, *, stochastic: bool = False, seed: int = 0) -> np.ndarray:
        """Actions, as the environment takes them, for observations [N, ...].

        Args:
          observations: float array [N, ...], as the vector environment gives them (Discrete ones one-hot);
            not normalised, the policy does that.
          stochastic: sample; by default the mode is taken.
          seed: of the samples.

        Raises:
          ValueError: the observations are not a batch of the right shape.
        """
        inputs = tf.convert_to_tensor(np.asarray(observations, np.float32))
        if tuple(inputs.shape[1:]) != self.policy.observation_shape:
            expected = ", ".join(["N", *map(str, self.policy.observation_shape)])
            raise ValueError(f"observations must be a batch [{expected}], got an array of shape {tuple(inputs.shape)}")
        policy = self.evaluation_policy()
        noise = (
            policy.action_distribution.noise([inputs.shape[0]], tf.constant([seed, 0], tf.int32))
            if stochastic
            else None
        )
        return policy.action_distribution.to_environment(policy.act(inputs, noise)).numpy()

    def export(
        self,
        path: str | os.PathLike[str],
        *,
        format: ExportFormat = "saved_model",
        environment: str | None = None,
        evaluation: dict[str, float] | None = None,
        warmup: bool = False,
    ) -> str:
        """Write a model for serving to PATH/VERSION; see `tf_trpo.serving.export_policy`.

        Args:
          path: folder of the model; each export adds the next version.
          format: "saved_model", "litert" or "onnx".
          environment: Gymnasium's id, for the model's metadata.
          evaluation: of `evaluate`, likewise.
          warmup: add warm-up requests for TensorFlow Serving (extra `warmup`).

        Raises:
          TrainingFailedError: a weight is not finite; nothing is written.
        """
        require_finite({"agent": self.weights})
        origin = Origin(environment, int(self.env_steps.numpy()), evaluation)
        return export_policy(
            self.evaluation_policy(),
            self.value_function,
            self.return_scale,
            path,
            format=format,
            origin=origin,
            warmup=warmup,
        )

    def save(self, filepath: str | os.PathLike[str], *args: Any, **kwargs: Any) -> None:
        """As `keras.Model.save`, with the state of the policy optimizer; a .keras file is replaced at once, or not.

        Raises:
          TrainingFailedError: a weight is not finite; nothing is written.
          OSError: the file cannot be written; one that was there is as it was.
        """
        require_finite({"agent": self.weights})
        path = os.fspath(filepath)
        # With arguments, Keras may ask before it overwrites; what is not on this machine's disks, it copies there.
        if args or kwargs.keys() - {"overwrite"} or not kwargs.get("overwrite", True):
            super().save(filepath, *args, **kwargs)
        elif path.endswith(".keras") and "://" not in path:
            with replaced_at_once(Path(path)) as aside:
                super().save(aside)
        else:
            super().save(filepath)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "policy": keras.saving.serialize_keras_object(self.policy),
            "value_function": keras.saving.serialize_keras_object(self.value_function),
            "ema_momentum": self.ema_momentum,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> TRPO:
        models = {name: keras.saving.deserialize_keras_object(config[name]) for name in ("policy", "value_function")}
        return cls(**{**config, **models})

    def save_own_variables(self, store: Any) -> None:
        super().save_own_variables(store)
        if self.compiled:
            save_policy_optimizer(self.policy_optimizer, store)

    def load_own_variables(self, store: Any) -> None:
        super().load_own_variables(own_variables(store))
        if self.compiled:
            load_policy_optimizer(self.policy_optimizer, store)

    def get_compile_config(self) -> dict[str, Any]:
        return {
            "policy_optimizer": keras.saving.serialize_keras_object(self.policy_optimizer),
            "value_optimizer": keras.saving.serialize_keras_object(self.optimizer),
            "jit_compile": self.jit_compile,
            **dataclasses.asdict(self.settings),
        }

    def compile_from_config(self, config: dict[str, Any]) -> None:
        self.compile(**keras.saving.deserialize_keras_object(config))


def _check_discount(policy_optimizer: PolicyOptimizer, gamma: float) -> None:
    """Refuse a theory of another discount than the returns have."""
    if not isinstance(policy_optimizer, KLPenalty) or policy_optimizer.penalty != "theory":
        return
    if policy_optimizer.gamma != gamma:
        raise ValueError(f"gamma of the KLPenalty is {policy_optimizer.gamma}, and that of the agent {gamma}")
