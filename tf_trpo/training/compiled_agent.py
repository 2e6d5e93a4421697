"""An agent that is compiled with an algorithm and the settings of its training."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import keras

from tf_trpo.learning.critic import Critic, choose_value_optimizer, make_cost_optimizers
from tf_trpo.learning.learner import Learner
from tf_trpo.learning.settings import JitCompile, UpdateSettings
from tf_trpo.optimizers import PolicyOptimizer, Shown, TrustRegion
from tf_trpo.ranges import check_types
from tf_trpo.training.agent import Agent
from tf_trpo.training.anchor import Anchor, copied_policy, start_at
from tf_trpo.training.checkpoint import restoring, whole_number
from tf_trpo.training.checks import check_unshared, warn_of_obstacle
from tf_trpo.training.identity import check_compiled, note_compiled


class CompiledAgent(Agent):
    """An agent with a learner; for arguments, see `Agent`.

    Attributes:
      shown: demonstrations that the policy optimizer imitates; None without.
    """

    optimizer: keras.optimizers.Optimizer
    cost_optimizers: list[keras.optimizers.Optimizer]
    jit_compile: JitCompile
    compiled: bool
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
            a Keras schedule; the value optimizer scales the loss or averages the weights; the network has no config
            and cannot be saved; another agent has the same weights or value optimizer; or limits do not fit the costs
            and the anchor.
        """
        check_types(policy_optimizer=(policy_optimizer, PolicyOptimizer | None), update=(update, UpdateSettings | None))
        check_types(jit_compile=(jit_compile, JitCompile | None))
        before = self.learner if self.compiled else None
        present = None if before is None else (self.optimizer, self.update_settings)
        optimizer, settings, rate = choose_value_optimizer(present, value_optimizer, update)
        check_unshared(self, optimizer)
        optimizer.build(self.value_function.trainable_variables)
        if present is not None and present[0] is optimizer:
            cost_optimizers = self.cost_optimizers
        else:
            cost_optimizers = make_cost_optimizers(optimizer, self.cost_value_functions)
        near = self.anchor if anchor is None else copied_policy(anchor, self.policy)
        algorithm = policy_optimizer or (TrustRegion() if before is None else self.policy_optimizer)
        jit: JitCompile = jit_compile if jit_compile is not None else "auto" if before is None else self.jit_compile
        # If this fails, the agent is unchanged.
        learner = Learner(
            self.policy,
            self._critics([optimizer, *cost_optimizers]),
            algorithm,
            settings,
            anchor=near,
            average=self.average,
            shown=self.shown if algorithm.imitates else None,
            jit_compile=jit,
        )
        self.optimizer, self.update_settings, self.cost_optimizers = optimizer, settings, cost_optimizers
        self.anchor, self.policy_optimizer, self.jit_compile, self.learner = near, algorithm, jit, learner
        # The attribute may have been set to another one, whose settings the old state would hide.
        if before is not None and policy_optimizer is None and algorithm == before.parts["policy_optimizer"]:
            self.learner.take_over(before)
        if rate is not None:
            optimizer.learning_rate = rate
        self.compiled = True
        self._obstacle = warn_of_obstacle(self, "the agent learns", self._obstacle)
        note_compiled(self)

    def _critics(self, optimizers: Sequence[keras.optimizers.Optimizer]) -> list[Critic]:
        """Return the critics, of the rewards first and then of each cost, given an optimizer for each."""
        value_functions = [self.value_function, *self.cost_value_functions]
        scales = [self.return_scale, *self.cost_return_scales]
        return [*map(Critic, value_functions, scales, optimizers)]

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
