"""An agent that is compiled with an algorithm and the settings of its training."""

from __future__ import annotations

import os
from pathlib import Path

import keras

from tf_trpo.learning.average import WeightAverage
from tf_trpo.learning.critic import Critic, choose_value_optimizer, make_cost_optimizers
from tf_trpo.learning.learner import Learner
from tf_trpo.learning.settings import JitCompile, UpdateSettings
from tf_trpo.models.structure import pattern_of
from tf_trpo.optimizers import PolicyOptimizer, Shown, TrustRegion
from tf_trpo.ranges import check_types
from tf_trpo.training.agent import Agent
from tf_trpo.training.anchor import Anchor, copied_policy, start_at
from tf_trpo.training.checkpoint import restoring, whole_number
from tf_trpo.training.checks import (
    check_keras,
    check_saveable,
    check_unshared,
    check_value_optimizers,
    warn_of_obstacle,
)
from tf_trpo.training.identity import CompiledWith, check_compiled, note_compiled


class CompiledAgent(Agent):
    """An agent with a learner; for arguments, see `Agent`.

    Attributes:
      shown: demonstrations that the policy optimizer imitates; None without.
      compiled_with: all that the learner was made with, set by `compile`.
    """

    optimizer: keras.optimizers.Optimizer
    cost_optimizers: list[keras.optimizers.Optimizer]
    jit_compile: JitCompile
    compiled: bool
    compiled_with: CompiledWith
    shown: Shown | None = None
    _obstacle: str | None = None
    """Why the agent's file could not be loaded again, as the last `compile` has warned; None if it could."""

    def compile(
        self,
        policy_optimizer: PolicyOptimizer | None = None,
        value_optimizer: keras.optimizers.Optimizer | str | None = None,
        *,
        update: UpdateSettings | None = None,
        jit_compile: JitCompile | None = None,
        anchor: Anchor | None = None,
    ) -> None:
        """Set the algorithm and the settings of training.

        Arguments that are None stay as compiled before: the policy optimizer and the value optimizer with their states,
        the update settings as a whole, and jit_compile. If something is changed in another way afterwards, `fit` raises
        until `compile` is called again, except for a learning rate, which takes effect.

        If layers were frozen or unfrozen, which weights of the policy are trainable has changed: the policy optimizer's
        state and the moving average of the weights then begin again. The average does so for a new `ema_momentum` too.

        If an agent of this network cannot be loaded again, a warning of the logger "tf_trpo" says so.

        Args:
          policy_optimizer: the algorithm; at first `TrustRegion()`.
          value_optimizer: any Keras optimizer without loss scale and average of weights; at first Adam. One that is
            given has a rate of its own.
          update: gamma, gae_lambda, value_epochs and so on; at first `UpdateSettings()`.
          jit_compile: compile the update with XLA; without XLA the results are equal up to rounding. "auto", at first:
            unless XLA cannot compile it, or there are convolutions on a CPU, which XLA computes nine times slower.
          anchor: the policy to stay near, limited by the policy optimizer's `anchor_kl`: a policy, an agent (it may be
            this one), or the file of a saved agent. A copy of its present state becomes the attribute `anchor`, which
            is saved with the agent. To remove the anchor, set the attribute to None before `compile`.

        Raises:
          TypeError: an argument is of another type.
          ValueError: both a value optimizer and a learning rate for it are given, or the settings change a rate that is
            a Keras schedule; the value optimizer scales the loss or averages the weights, or was built for other
            weights; a part has no config and cannot be saved; another agent has the same weights or value optimizer;
            limits do not fit the costs and the anchor; or Keras runs without TensorFlow, not in float32, or in the
            scope of a distribution strategy. The agent is unchanged.
        """
        check_types(policy_optimizer=(policy_optimizer, PolicyOptimizer | None), update=(update, UpdateSettings | None))
        check_types(jit_compile=(jit_compile, JitCompile | None))
        check_keras()
        before = self.compiled_with if self.compiled else None
        present = None if before is None else (self.optimizer, self.update_settings)
        optimizer, settings, rate = choose_value_optimizer(present, value_optimizer, update)
        check_unshared(self, optimizer)
        critics = self._critics(optimizer)
        near = self.anchor if anchor is None else copied_policy(anchor, self.policy)
        algorithm = policy_optimizer or (TrustRegion() if before is None else self.policy_optimizer)
        jit: JitCompile = jit_compile if jit_compile is not None else "auto" if before is None else self.jit_compile
        average = self._average()
        check_saveable(policy_optimizer=algorithm, value_optimizer=optimizer)
        check_saveable(network=[self.policy, *(critic.value_function for critic in critics)])
        shown = self.shown if algorithm.imitates else None
        # Nothing is assigned before this, so that a refused call changes nothing.
        learner = Learner(
            self.policy, critics, algorithm, settings, anchor=near, average=average, shown=shown, jit_compile=jit
        )
        # The attribute may have been set to another one, whose settings the old state would hide.
        stays = policy_optimizer is None and before is not None and algorithm == before.parts["policy_optimizer"]
        if stays and before is not None and before.policy_weights == pattern_of(self.policy.weights):
            learner.take_over(self.learner)
        self.optimizer, self.update_settings = optimizer, settings
        self.cost_optimizers = [critic.optimizer for critic in critics[1:]]
        self.anchor, self.average, self.policy_optimizer = near, average, algorithm
        self.jit_compile, self.learner = jit, learner
        if rate is not None:
            optimizer.learning_rate = rate
        self.compiled = True
        note_compiled(self)
        self._obstacle = warn_of_obstacle(self, "the agent learns", self._obstacle)

    def _critics(self, optimizer: keras.optimizers.Optimizer) -> list[Critic]:
        """Return the critics, of the rewards first and then of each cost, given the value optimizer.

        Raises:
          ValueError: an optimizer was built for other weights.
        """
        optimizer.build(self.value_function.trainable_variables)
        if self.compiled and optimizer is self.optimizer:
            optimizers = [optimizer, *self.cost_optimizers]
        else:
            optimizers = [optimizer, *make_cost_optimizers(optimizer, self.cost_value_functions)]
        value_functions = [self.value_function, *self.cost_value_functions]
        check_value_optimizers(optimizers, value_functions)
        scales = [self.return_scale, *self.cost_return_scales]
        return [*map(Critic, value_functions, scales, optimizers)]

    def _average(self) -> WeightAverage | None:
        """Return the moving average; a new one if it is of other weights or has another momentum than the agent."""
        if self.ema_momentum is None:
            return None
        average = self.average
        fits = average is not None and average.momentum == self.ema_momentum and average.fits(self.policy)
        return average if fits else WeightAverage(self.policy, self.ema_momentum)

    def load_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Restore the agent's state from a checkpoint.

        Args:
          path: a checkpoint DIRECTORY/steps-N.ckpt, or DIRECTORY for its newest intact one.

        Raises:
          ValueError: the agent is not compiled.
          CheckpointError: the file is damaged, or the shapes of its variables differ from the agent's; this agent is
            unchanged. Parts without variables, such as an activation or a mirror, are not compared.
        """
        check_compiled(self)
        with restoring(Path(path), "agent") as state:
            self.learner.check_state(state["learner"])
            steps, iterations = whole_number(state["env_steps"]), whole_number(state["iterations"])
            self.learner.restore(state["learner"])
            self.env_steps.assign(steps)
            self.iterations.assign(iterations)

    def start_at_anchor(self) -> None:
        """Give the policy the weights and observation statistics of its anchor, so that training begins there.

        Raises:
          ValueError: the agent has no anchor, or the networks differ.
        """
        if self.anchor is None:
            raise ValueError("the agent has no anchor: give one to compile")
        start_at(self.policy, self.anchor)
