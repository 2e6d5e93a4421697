"""The agent that learns: it is made for an environment, compiled and fitted."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from tf_trpo.environments import ActionMasks, VectorBackend
from tf_trpo.environments.costs import Cost, cost_labels
from tf_trpo.environments.making import Wrapper
from tf_trpo.environments.vector import Environment
from tf_trpo.learning.devices import prepare_gpus
from tf_trpo.learning.parted_learner import PartedLearner, in_parts
from tf_trpo.learning.vine import settled_vine
from tf_trpo.models import MirrorSymmetry
from tf_trpo.models.making import make_policy, make_value_functions, with_memory
from tf_trpo.models.settings import MemoryKind, PolicySettings, ValueSettings
from tf_trpo.ranges import check_types, check_whole_numbers
from tf_trpo.rollouts import RolloutSource, Spread
from tf_trpo.rollouts.vine import VineSettings
from tf_trpo.training.callback_list import Callbacks, callback_list, list_of, released
from tf_trpo.training.checks import check_keras, in_this_thread, warn_of_raw_observations, warn_of_short_segments
from tf_trpo.training.cloning import Imitator
from tf_trpo.training.identity import check_compiled_as, check_unchanged, run_identity
from tf_trpo.training.opening import known_mirror_of, opened_source, spaces_of
from tf_trpo.training.trainer import Counters, Trainer
from tf_trpo.workers import PartWorkers, RaySource


@keras.saving.register_keras_serializable(package="tf_trpo")
class TRPO(Imitator):
    """Trust Region Policy Optimization: a policy and a value function that learn from an environment.

    The algorithm is the policy optimizer that the agent is compiled with: `TrustRegion` for TRPO, or another one of
    `tf_trpo.optimizers`. Everything else is the same.

        agent = tf_trpo.TRPO.for_env("Hopper-v5")
        agent.compile(policy_optimizer=tf_trpo.optimizers.TrustRegion(max_kl=0.01))
        history = agent.fit("Hopper-v5", total_steps=1_000_000)

    Args, attributes and the other methods: see `Agent`, `CompiledAgent` for `compile`, and `Imitator` for `clone`.

    Attributes:
      seed: of `for_env`; None of an agent that was made in another way, or loaded.

    Source:
      Schulman et al. (2015), "Trust Region Policy Optimization"; lecture, Algorithm 1.
    """

    seed: int | None = None

    @classmethod
    def for_env(
        cls,
        environment: Environment,
        *,
        policy: PolicySettings | None = None,
        value: ValueSettings | None = None,
        network: keras.Model | None = None,
        value_network: keras.Model | None = None,
        memory: MemoryKind | keras.layers.Layer | None = None,
        memory_units: int | None = None,
        memory_span: float | None = None,
        mirror: MirrorSymmetry | None = None,
        seed: int | None = None,
        env_kwargs: Mapping[str, Any] | None = None,
        wrappers: Sequence[Wrapper] = (),
        action_masks: ActionMasks = "auto",
        costs: Sequence[Cost] = (),
    ) -> TRPO:
        """Make an agent for an environment's spaces, compiled with the default settings.

        Args:
          environment: a Gymnasium id, a function that makes an environment, the name "module:Class" of one, or a vector
            environment.
          policy: settings of the policy; by default `PolicySettings()`.
          value: settings of the value function; by default `ValueSettings()`.
          network: any keras.Model from observations [N, ...] to features [N, F] for the policy; by default an MLP of
            the settings. It is called as at inference: no Dropout, and BatchNormalization keeps its statistics.
          value_network: the same for the value function.
          memory: recurrent memory of policy and value function: "gru", "lstm" or a Keras cell, of which each gets its
            own; by default that of the settings, which is none. See `PolicySettings.memory`.
          memory_units: units of a "gru" or "lstm"; by default those of the settings, which are 64.
          memory_span: how far back a "gru" or "lstm" looks at first, in rows, >= 2; by default that of the settings,
            which is 2. See `PolicySettings.memory_span`.
          mirror: a reflection of the environment that policy and value function respect; by default none, or the known
            reflection of a Gymnasium id if the settings have `mirror=True`.
          seed: makes the initial weights reproducible, >= 0, and is the seed of `fit` unless that gets its own. An
            agent's file does not have it.
          env_kwargs, wrappers, action_masks: as for `make_vector_environment`.
          costs: signals of the environment in addition to the reward: keys of infos, or functions of a step. Each has
            its own value function. See `tf_trpo.environments.Cost`.

        Raises:
          TypeError: an argument is of another type.
          ValueError: a space or an autoreset mode that is not supported, a setting or a network that does not fit, or
            Keras runs without TensorFlow or not in float32.
        """
        check_keras()
        prepare_gpus()
        check_types(policy=(policy, PolicySettings | None), value=(value, ValueSettings | None))
        check_types(seed=(seed, int | None), costs=(costs, list | tuple))
        check_whole_numbers(lowest=0, seed=seed or 0)
        remembering = {"memory_units": memory_units, "memory_span": memory_span}
        policy, value = with_memory(policy or PolicySettings(), memory, **remembering), value or ValueSettings()
        both_given = network is not None and value_network is not None
        if both_given and policy.activation != PolicySettings.activation:
            raise ValueError("activation is for the default networks, and both networks are given")
        making = {"env_kwargs": env_kwargs, "wrappers": wrappers, "action_masks": action_masks}
        observations, actions = spaces_of(environment, **making)
        mirror = known_mirror_of(environment) if policy.mirror and mirror is None else mirror
        shared: Any = {"memory": memory, "mirror": mirror, "seed": seed}
        made = make_policy(policy, observations, actions, network=network, **shared)
        values, *of_costs = make_value_functions(policy, value, observations, 1 + len(costs), value_network, **shared)
        agent = cls(made, values, ema_momentum=policy.ema_momentum, costs=tuple(costs), cost_value_functions=of_costs)
        agent.seed = seed
        agent.compile()
        return agent

    def fit(
        self,
        environment: Environment | RolloutSource,
        total_steps: int,
        *,
        num_envs: int = 1,
        num_steps: int = 2048,
        backend: VectorBackend = "sync",
        env_kwargs: Mapping[str, Any] | None = None,
        wrappers: Sequence[Wrapper] = (),
        action_masks: ActionMasks = "auto",
        info_keys: Sequence[str] = (),
        env_timeout: float = 300.0,
        shards: int | None = None,
        workers: int = 0,
        ray_address: str | None = None,
        allow_different_workers: bool = False,
        update_parts: int | None = None,
        seed: int | None = None,
        callbacks: Callbacks = None,
        verbose: int = 1,
        max_faults: int = 10,
        restart_every: int = 0,
        vine: VineSettings | None = None,
        schedule_steps: int | None = None,
        resume_from: str | os.PathLike[str] | None = None,
    ) -> keras.callbacks.History:
        """Train for at least `total_steps` environment steps, in whole iterations.

        An iteration collects num_steps rows from each environment, improves the policy and fits the value function. For
        callbacks, an iteration is an epoch.

        Another call continues with the agent as it is, and the number of its iterations chooses new episodes. Schedules
        begin again. (Keras' BackupAndRestore restores the agent after the episodes have begun: use `resume_from`.)

        The row after an episode's end is a reset, not a step: CartPole takes 493 steps in its first 512 rows, and 1,024
        steps need a third iteration. If no episode has ended, the logger "tf_trpo" warns.

        Args:
          environment: a Gymnasium id, a function that makes an environment, a vector environment, or a source of
            rollouts.
          total_steps: environment steps to take, >= 1.
          num_envs: environments stepped together; a vector environment or a source has its own number.
          num_steps: rows of a rollout, for each environment and iteration, >= 1.
          backend: "sync", "async", "envpool" or "vector".
          env_kwargs, wrappers, action_masks: as for `make_vector_environment`.
          info_keys: keys of numbers in the infos at episode ends, such as "is_success", logged as rollout/info/KEY: the
            mean over the last 100 episodes.
          env_timeout: seconds that a step of all environments may take with the backend "async", > 0.
          shards: number of equal groups of environments; the actions of a group are computed in one batch. By default
            1 below 16 environments, and at most 16.
          workers: number of Ray processes (an extra) that step the shards, at most one for each shard, if environment
            is an id or a function and backend is "sync"; 0: only this process. The result is bit for bit the same.
          ray_address, allow_different_workers: address of a cluster, None for this machine; and whether workers may
            compute differently from this process. See docs/scaling.md.
          update_parts: number of equal parts of a batch, >= 1, on which gradients, Fisher-vector products and figures
            of the policy are computed, by the workers if there are any. The weights depend on the number of parts,
            but not on the processes that compute them. None: the whole batch at once, in this process.
          seed: of environments, actions and minibatches; the same seed gives the same weights. None: the seed of
            `for_env`; 0 if that was None, or if the agent was loaded.
          callbacks: any Keras callbacks, a list or one; `params["trainer"]` is the `Trainer`.
          verbose: 1 shows progress, 0 nothing.
          max_faults: rollouts or updates in a row with numbers that are not finite, at which training ends, >= 1. Such
            a rollout changes nothing, and the weights of such a step or regression are restored; the logger "tf_trpo"
            warns, and train/faults counts it.
          restart_every: rollouts after which an environment begins another episode, each environment in its turn; 0:
            only when an episode ends. Without it, episodes that all last until the same time limit always begin
            together, and a rollout shows one part of them only (Bharthulwar et al., 2025, Staggered Environment
            Resets). A cut episode is bootstrapped and not reported. Backends "sync" and "async".
          vine: estimate the policy's advantages from branches of the rollouts, `VineSettings(vine_states=...)`; None:
            from single paths. Steps of branches count as environment steps. Backend "sync" only, and the environments
            must be restorable to an earlier state, which is tried first.
          schedule_steps: environment steps over which schedules (of the standard deviation, of the KL limit) go from
            start to end, >= 1; by default total_steps.
          resume_from: folder of checkpoints that a `tf_trpo.callbacks.Checkpoint` has written during a fit with the
            same arguments, or one of its files: the fit continues from the newest intact one. The unfinished episodes
            are replayed. If the environments then give the same observations, the weights are bit for bit those of an
            uninterrupted fit; otherwise a warning says that new episodes were begun. Vector environments that were not
            made here, and EnvPool's, always begin new episodes.

        Returns:
          A Keras History: `history.history["rollout/ep_rew_mean"]` and so on. Each list has a number for each
          iteration, NaN if the iteration did not log the figure.

        Raises:
          TypeError: a number of steps, environments or faults, or the seed, is not an int.
          ImportError: workers are asked for, and Ray is not installed.
          ValueError: the environment does not fit the agent, a setting is out of range, the agent is not compiled or
            something was changed after `compile`, a network cannot be differentiated, or another thread uses the agent.
          CheckpointError: no checkpoint is intact, or it is one of another agent or fit; this agent is unchanged.
          EnvironmentFailedError: an environment raised, hung or died; a `Checkpoint` among the callbacks has saved the
            agent as it was after the last iteration.
          TrainingFailedError: there were max_faults faults in a row; the agent was saved in the same way.
          Exception: a callback raised; from the end of the first iteration, the agent was saved in the same way.
        """
        given, seed = list_of(callbacks), (self.seed or 0) if seed is None else seed
        check_whole_numbers(total_steps=total_steps, num_envs=num_envs, num_steps=num_steps, max_faults=max_faults)
        check_whole_numbers(schedule_steps=total_steps if schedule_steps is None else schedule_steps)
        check_whole_numbers(update_parts=1 if update_parts is None else update_parts)
        check_whole_numbers(lowest=0, seed=seed, restart_every=restart_every)
        check_unchanged(self)
        warn_of_raw_observations(self)
        warn_of_short_segments(self, num_steps)
        opening: Any = {"env_kwargs": env_kwargs, "wrappers": wrappers, "action_masks": action_masks}
        opening |= {"info_keys": info_keys, "costs": self.costs, "num_envs": num_envs}
        opening |= {"backend": backend, "timeout": env_timeout}
        spread = Spread(shards, workers, ray_address, allow_different_workers)
        check_types(vine=(vine, VineSettings | None))
        branches = settled_vine(vine, self.policy, num_steps, num_envs)
        scheduled = self.policy_optimizer.is_scheduled or self.policy.action_distribution.is_scheduled
        # XLA compiles while the policy is made ready to act.
        learner = self.learner if update_parts is None else in_parts(self.learner, update_parts)
        trace = functools.partial(learner.trace, num_steps, vine=branches)
        how = seed, restart_every, trace, branches, int(self.iterations)
        opened = opened_source(self.policy, environment, opening, spread, *how)
        with in_this_thread(self), opened as source, contextlib.ExitStack() as afterwards:
            if isinstance(learner, PartedLearner):
                afterwards.callback(learner.rest)
                if isinstance(source, RaySource):
                    learner.work_with(PartWorkers(source.crew, allow_different=allow_different_workers))
            trainer = Trainer(
                learner,
                source,
                Counters(self.env_steps, self.iterations),
                num_steps=num_steps,
                seed=seed,
                max_faults=max_faults,
                restart_every=restart_every,
                identity=run_identity(
                    self,
                    environment,
                    opening,
                    num_steps=num_steps,
                    seed=seed,
                    shards=spread.shards_of(source.num_envs),
                    update_parts=update_parts,
                    restart_every=restart_every,
                    vine=branches and branches._asdict(),
                    schedule_steps=(schedule_steps or total_steps) if scheduled else None,
                ),
                costs=cost_labels(self.costs),
                vine=branches,
            )
            if resume_from is not None:
                trainer.resume(Path(resume_from))
            told = callback_list(self, trainer, given, total_steps, verbose)
            with released(told):
                self._run(trainer, told, total_steps, schedule_steps)
        return self.history

    def _run(
        self, trainer: Trainer, callbacks: keras.callbacks.CallbackList, total_steps: int, schedule_steps: int | None
    ) -> None:
        """Train until the steps are taken or a callback stops the training."""
        self.stop_training, compiled = False, self.compiled_with

        def stopped() -> bool:
            check_compiled_as(self, compiled)
            return bool(self.stop_training)

        trainer.run(callbacks, total_steps, schedule_steps=schedule_steps, stopped=stopped)
