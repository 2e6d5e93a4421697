"""One update, as one compiled call: from a rollout to new models and a typed result."""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tf_trpo.estimation import Batch, as_rows, estimate_lower_bound, from_rows, weighted_mean
from tf_trpo.learning.average import WeightAverage
from tf_trpo.learning.compilation import COMPILATION_ERRORS, warn_without_xla, xla_is_fast
from tf_trpo.learning.critic import Critic, is_scheduled, parts_of
from tf_trpo.learning.devices import prepare_gpus
from tf_trpo.learning.numbers import Numbers
from tf_trpo.learning.preparation import Preparation, check_memories
from tf_trpo.learning.programs import key_of, program
from tf_trpo.learning.results import PolicyResult, UpdateResult, ValueResult, fetched
from tf_trpo.learning.samples import Carry, Prepared, as_tensors, rollout_spec
from tf_trpo.learning.settings import JitCompile, UpdateSettings
from tf_trpo.learning.states import check_values
from tf_trpo.learning.value_regression import fit_critic
from tf_trpo.models import Policy
from tf_trpo.numerics import map_over_chunks, random_orders
from tf_trpo.optimizers import Outcome, PolicyOptimizer, Problem, Shown
from tf_trpo.rollouts import Rollout
from tf_trpo.rollouts.vine import Vine


class Learner:
    """Everything that an iteration changes, and the compiled function that changes it.

    Args:
      policy: the policy to improve.
      critics: value functions of the rewards, and of each cost.
      policy_optimizer: the algorithm that finds new parameters of the policy.
      settings: the other settings of the update.
      anchor: the policy to stay near, if there is one.
      average: moving average of the policy's weights, if there is one.
      shown: demonstrations that the policy optimizer imitates, in variables, if there are any.
      jit_compile: compile the update's loops by XLA; "auto": if XLA can, and there are no convolutions on a CPU.

    Attributes:
      structure: learners of equal structure share traced and compiled programs; with None, nothing is shared.
      numbers: float settings, which are inputs of the shared programs.
      parted: by number of parts, the learners that share this one's variables; see `in_parts`.
      traffic: figures of how the last update was spread over processes, by their names in the logs.
    """

    def __init__(
        self,
        policy: Policy,
        critics: Sequence[Critic],
        policy_optimizer: PolicyOptimizer,
        settings: UpdateSettings,
        *,
        anchor: Policy | None = None,
        average: WeightAverage | None = None,
        shown: Shown | None = None,
        jit_compile: JitCompile = True,
    ) -> None:
        policy_optimizer.check_gamma(settings.gamma)
        scheduled = policy.action_distribution.is_scheduled
        policy_optimizer.check_problem(Problem(len(critics) - 1, anchor is not None, average is not None, scheduled))
        check_memories(policy, critics, settings)
        self.policy, self._critics, self._anchor = policy, tuple(critics), anchor
        self._policy_optimizer_state = dataclasses.replace(policy_optimizer.make_state(policy), shown=shown)
        self._shown = [] if shown is None else tf.nest.flatten((shown.observations, shown.actions))
        self.numbers = Numbers(settings, policy_optimizer.settled(policy.action_distribution))
        self._average = average
        self.traffic: dict[str, float] = {}
        self.structure: str | None = None
        self._made_for = self._all_variables()
        self._models: list[Any] = [policy, *(critic.value_function for critic in critics)]
        self.compile(xla_is_fast(*self._models) if jit_compile == "auto" else jit_compile)
        self._may_leave_xla = jit_compile == "auto" and self._jit_compile

    def compile(self, jit_compile: bool) -> None:
        """Prepare the update for tracing, with its loops compiled by XLA or not."""
        prepare_gpus()
        for model in self._models:
            if model.encoder.memory is not None:
                model.encoder.memory.trace_again()
        self._preparation = Preparation(self.policy, self._critics, self.numbers, self._anchor, jit_compile)
        traced = functools.partial(tf.function, autograph=False)
        self.prepare: Callable[..., tuple[Prepared, Carry]] = traced(self._preparation.prepare)
        """(rollout, carry, totals of costs) -> (samples, new carry)."""
        self.estimate_again: Callable[..., Prepared] = traced(self._preparation.estimate_again)
        """(rollout, its samples, carry, totals of costs) -> the samples with advantages by the present values."""
        self.improve_policy: Callable[[Prepared, tf.Tensor], PolicyResult] = traced(self._improve_policy)
        self.fit_value_functions: Callable[[Prepared, tf.Tensor], list[ValueResult]] = traced(self._fit_value_functions)
        self._jit_compile = jit_compile
        self._programs: dict[str, Callable[..., Any]] = {}
        self.parted: dict[int, Any] = {}

    def trace(self, num_steps: int, num_envs: int, vine: Vine | None = None) -> None:
        """Trace the update for rollouts of T steps of B environments, with branches or without, and let XLA start.

        Raises:
          ValueError: a network cannot be differentiated.
        """
        num_costs = len(self._critics) - 1
        rollout = rollout_spec(self.policy, num_steps, num_envs, num_costs, vine)
        count = self._preparation.arrangement(num_steps, num_envs).count
        orders = tf.TensorSpec((self.numbers.settings.value_epochs, count), tf.int32)
        carry = tf.nest.map_structure(lambda part: tf.TensorSpec(part.shape, part.dtype), self.first_carry(num_envs))
        totals = tf.TensorSpec((num_costs + 1,), tf.float64) if num_costs else ()
        try:
            self._trace([rollout, carry, orders, tf.TensorSpec((), tf.float64), totals])
        except (LookupError, TypeError, ValueError, NotImplementedError) as error:
            raise ValueError(f"the agent cannot learn: {' '.join(str(error).split())[:500]}") from error

    def _trace(self, specs: list[Any]) -> None:
        self._program(specs)

    def update(
        self, rollout: Rollout, carry: Carry, orders: Any, progress: Any, totals: Any = ()
    ) -> tuple[UpdateResult, Carry]:
        """Improve the policy and fit the value functions; return the result, of arrays, and the next rollout's carry.

        With jit_compile="auto", the first update is made again without XLA if XLA cannot compile it.

        Args:
          rollout: T steps of B environments.
          carry: the carry from the last rollout, `first_carry` at first.
          orders: drawn by `orders`.
          progress: float64 scalar in [0, 1], from which schedules are computed.
          totals: as for `Preparation.prepare`.
        """
        given = rollout, carry, orders, progress, totals
        if not self._may_leave_xla:
            return self._run(*given)
        before = self.state()
        try:
            result = self._run(*given)
        except COMPILATION_ERRORS as error:
            self.restore(before)
            self.compile(jit_compile=False)
            try:
                result = self._run(*given)
            except Exception:
                # The error was not XLA's.
                self.compile(jit_compile=True)
                raise
            warn_without_xla(error)
        self._may_leave_xla = False
        return result

    def _run(self, rollout: Rollout, *others: Any) -> tuple[UpdateResult, Carry]:
        """Make an update as compiled; the arguments are those of `update`."""
        if tf.config.functions_run_eagerly():
            return fetched(*self._update(rollout, *others))
        tensors = as_tensors(rollout, *others)
        return self._program(tf.nest.map_structure(tf.TensorSpec.from_tensor, tensors))(*tensors)

    def _program(self, specs: list[Any]) -> Callable[..., Any]:
        """Return the traced update for arguments with these specs."""
        key = key_of(specs)
        if key not in self._programs:
            structure = None if self.structure is None else (self.structure, self._jit_compile)
            variables = [*self._all_variables(), self.numbers.variable]
            self._programs[key] = program(self._update, specs, variables, structure)
        return self._programs[key]

    def orders(self, num_steps: int, num_envs: int, rng: np.random.Generator) -> np.ndarray:
        """Draw orders of the samples of T steps of B environments, int32 [value_epochs, N], for one update.

        With a memory, these are orders of segments, [value_epochs, S].
        """
        count = self._preparation.arrangement(num_steps, num_envs).count
        return random_orders(self.numbers.settings.value_epochs, count, rng)

    def first_carry(self, num_envs: int) -> Carry:
        """Return the carry before the first update of B environments."""
        return self._preparation.first_carry(num_envs)

    def state(self) -> dict[str, list[np.ndarray]]:
        """Return the values of all variables, by part."""
        return {part: [np.array(each.numpy()) for each in variables] for part, variables in self.variables().items()}

    def check_state(self, state: dict[str, Any]) -> None:
        """Raise ValueError unless `restore` can take the state: finite arrays of the variables' shapes and types."""
        for part, variables in self.variables().items():
            check_values(part, variables, state[part])

    def restore(self, state: dict[str, Any]) -> None:
        """Set all variables to a state that `check_state` has passed."""
        for part, variables in self.variables().items():
            for variable, array in zip(variables, state[part], strict=True):
                variable.assign(array)

    def take_over(self, other: Learner) -> None:
        """Copy the state of another learner's policy optimizer, which must be equal to this one's."""
        own, others = self._policy_optimizer_state.variables, other._policy_optimizer_state.variables
        for variable, value in zip(own, others, strict=True):
            variable.assign(value)

    def variables(self) -> dict[str, list[Any]]:
        """Return all variables but demonstrations by part, in an order that depends on the parts' structure only."""
        return {
            "policy": list(self.policy.weights),
            **parts_of(self._critics),
            "policy optimizer": list(self._policy_optimizer_state.variables),
            "average": [] if self._average is None else list(self._average.weights),
            "anchor": [] if self._anchor is None else list(self._anchor.weights),
        }

    def has_its_variables(self) -> bool:
        """Return whether all variables are still those that this was made with."""
        return list(map(id, self._made_for)) == list(map(id, self._all_variables()))

    def _all_variables(self) -> list[Any]:
        return [*(variable for part in self.variables().values() for variable in part), *self._shown]

    def _update(
        self, rollout: Rollout, carry: Carry, orders: tf.Tensor, progress: tf.Tensor, totals: Any
    ) -> tuple[UpdateResult, Carry]:
        prepared, after = self.prepare(rollout, carry, totals)
        if self.numbers.settings.value_function_first:
            value, *costs = self.fit_value_functions(prepared, orders)
            policy = self.improve_policy(self.estimate_again(rollout, prepared, carry, totals), progress)
        else:
            (value, *costs), policy = self._fit_and_improve(prepared, orders, progress)
        return UpdateResult(policy, value, costs), after

    def _fit_and_improve(
        self, prepared: Prepared, orders: tf.Tensor, progress: tf.Tensor
    ) -> tuple[list[ValueResult], PolicyResult]:
        # Without a variable in common, the two run at the same time. XLA compiles the one while the other is traced.
        return self.fit_value_functions(prepared, orders), self.improve_policy(prepared, progress)

    def _improve_policy(self, prepared: Prepared, progress: tf.Tensor) -> PolicyResult:
        outcome, gamma = self._step(prepared.batch, progress, jit_compile=self._jit_compile)
        return self._reported(prepared, outcome, gamma)

    def _step(self, batch: Batch, progress: tf.Tensor, **how: Any) -> tuple[Outcome, float | tf.Tensor]:
        """Take the policy's step; return its outcome and gamma."""
        settings, policy_optimizer = self.numbers.read()
        how |= {"gamma": settings.gamma, "chunk_size": self._preparation.chunk_size(batch.observations)}
        how |= {"progress": progress, "state": self._policy_optimizer_state}
        return policy_optimizer.step(self.policy, batch, **how), settings.gamma

    def _reported(self, prepared: Prepared, outcome: Outcome, gamma: float | tf.Tensor) -> PolicyResult:
        """Measure the policy after its step, and let it take in the new statistics."""
        policy, batch = self.policy, prepared.batch
        bound = estimate_lower_bound(
            batch.rows,
            predicted=outcome.predicted_improvement,
            actual=outcome.actual_improvement,
            max_kl=outcome.max_kl_over_states,
            gamma=gamma,
        )
        parameters = self._parameters(batch)
        figures = policy.action_distribution.figures(parameters)
        # This comes last, so that every figure of this iteration uses the statistics that the policy acted with.
        if self._average is not None:
            self._average.update(policy, prepared.policy_statistics)
        own = policy.encoder.update_normalization(prepared.policy_statistics)
        before, after = (tf.cast(each, tf.float64) for each in (parameters, self._parameters(batch)))
        return PolicyResult(
            outcome,
            bound,
            {name: weighted_mean(figure, batch.rows.weights) for name, figure in figures.items()},
            normalization_kl=weighted_mean(
                policy.action_distribution.kl(before, after), tf.cast(batch.rows.weights, tf.float64)
            ),
            statistics_are_finite=functools.reduce(operator.and_, (samples.sound for samples in prepared.values), own),
        )

    def _fit_value_functions(self, prepared: Prepared, orders: tf.Tensor) -> list[ValueResult]:
        first = self._critics[0].optimizer
        for critic in self._critics[1:]:
            # All value functions have the learning rate of the first, which a user may set.
            if not is_scheduled(first):
                critic.optimizer.learning_rate.assign(first.learning_rate)
        pairs = zip(self._critics, prepared.values, strict=True)
        return [fit_critic(*pair, orders, self.numbers.settings, self._jit_compile) for pair in pairs]

    def _parameters(self, batch: Batch) -> tf.Tensor:
        """Compute the distribution parameters [N, D] of a batch's samples."""

        def parameters(observations: Any) -> tf.Tensor:
            return from_rows(self.policy.distribution_parameters(observations), batch.weights)

        chunk_size = self._preparation.chunk_size(batch.observations)
        return as_rows(map_over_chunks(parameters, batch.observations, chunk_size), batch.weights)
