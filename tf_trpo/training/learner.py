"""One update, as one compiled call: from a rollout to new models and a typed result."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_trpo.estimation import Batch, as_rows, estimate_lower_bound, explained_variance, from_rows, weighted_mean
from tf_trpo.models import Policy, RunningReturnScale, ValueFunction
from tf_trpo.numerics import map_over_chunks, random_orders
from tf_trpo.optimizers import PolicyOptimizer
from tf_trpo.rollouts import Rollout
from tf_trpo.training.average import WeightAverage
from tf_trpo.training.checkpoint import check_values
from tf_trpo.training.compilation import with_way_out_of_xla, xla_is_fast
from tf_trpo.training.devices import prepare_gpus
from tf_trpo.training.numbers import Numbers
from tf_trpo.training.preparation import Preparation
from tf_trpo.training.prepared import Carry, Prepared, rollout_spec
from tf_trpo.training.programs import program
from tf_trpo.training.results import PolicyResult, UpdateResult, ValueResult
from tf_trpo.training.settings import JitCompile, UpdateSettings
from tf_trpo.training.value_regression import fit_value_function

Update = Callable[[Rollout, Carry, tf.Tensor, tf.Tensor], tuple[UpdateResult, Carry]]


class Learner:
    """Everything that an iteration changes, and the compiled function that changes it.

    Args:
      policy, value_function, return_scale: what the rollouts are learned by.
      policy_optimizer: the algorithm that finds new parameters of the policy.
      value_optimizer: a Keras optimizer, built on the value function.
      settings: the rest.
      average: moving average of the policy's weights, if there is one.
      jit_compile: compile the loops of the update by XLA; "auto" does not on a CPU if there are convolutions, nor if
        the first update shows that XLA cannot.

    Attributes:
      parts, described: all that the update depends on, when this was made; see `note_compiled`.
      structure: learners of equal structures share what is traced and compiled; one without any shares nothing.
      numbers: of the settings, which are inputs of what is shared.
    """

    update: Update
    """(rollout, carry, orders, progress in [0, 1]) -> (`UpdateResult`, new carry).

    The carry is `self.first_carry(B)` at first. The orders are those of `fit_value_function`: `self.orders(T, B, rng)`.
    The progress is a float64 scalar, of which schedules are functions.
    """

    def __init__(
        self,
        policy: Policy,
        value_function: ValueFunction,
        return_scale: RunningReturnScale,
        policy_optimizer: PolicyOptimizer,
        value_optimizer: keras.optimizers.Optimizer,
        settings: UpdateSettings,
        *,
        average: WeightAverage | None = None,
        jit_compile: JitCompile = True,
    ) -> None:
        policy_optimizer.check_gamma(settings.gamma)
        self.policy = policy
        self._value_function = value_function
        self._return_scale = return_scale
        self._policy_optimizer_state = policy_optimizer.make_state(policy)
        self._value_optimizer = value_optimizer
        self._settings = settings
        self.numbers = Numbers(settings, policy_optimizer)
        self._preparation = Preparation(policy, value_function, return_scale, settings, self.numbers)
        self._average = average
        self.parts: dict[str, Any] = {}
        self.described: dict[str, Any] = {}
        self.structure: str | None = None
        self._made_for = self._all_variables()
        self.compile(xla_is_fast(policy, value_function) if jit_compile == "auto" else jit_compile)
        if jit_compile == "auto":
            self.update = with_way_out_of_xla(self)

    def compile(self, jit_compile: bool) -> None:
        """Let the update be traced, and its loops compiled by XLA or not."""
        prepare_gpus()
        for memory in (self.policy.memory, self._value_function.encoder.memory):
            if memory is not None:
                memory.trace_again()
        traced = functools.partial(tf.function, autograph=False)
        prepare, estimate_again = (
            functools.partial(stage, jit_compile=jit_compile)
            for stage in (self._preparation.prepare, self._preparation.estimate_again)
        )
        self.prepare: Callable[[Rollout, Carry], tuple[Prepared, Carry]] = traced(prepare)
        """(rollout, carry) -> (what to learn from, new carry)."""
        self.estimate_again: Callable[[Rollout, Prepared, Carry], Prepared] = traced(estimate_again)
        """(rollout, what was prepared of it, carry) -> the same, with advantages by the present value function."""
        self.improve_policy: Callable[[Prepared, tf.Tensor], PolicyResult] = traced(self._improve_policy)
        self.fit_value_function: Callable[[Prepared, tf.Tensor], ValueResult] = traced(self._fit_value_function)
        self._jit_compile = jit_compile
        self._programs: dict[str, Callable[..., Any]] = {}
        self.update = self._traced_update

    def trace(self, num_steps: int, num_envs: int) -> None:
        """Trace the update for rollouts of T steps of B environments, and let XLA begin with it.

        Raises:
          ValueError: a network cannot be differentiated.
        """
        rollout = rollout_spec(self.policy, num_steps, num_envs)
        count = self._preparation.arrangement(num_steps, num_envs).count
        orders = tf.TensorSpec((self._settings.value_epochs, count), tf.int32)
        carry = tf.nest.map_structure(lambda part: tf.TensorSpec(part.shape, part.dtype), self.first_carry(num_envs))
        try:
            self._program([rollout, carry, orders, tf.TensorSpec((), tf.float64)])
        except (LookupError, TypeError, ValueError, NotImplementedError) as error:
            raise ValueError(f"the agent cannot learn: {' '.join(str(error).split())[:500]}") from error

    def _traced_update(self, rollout: Rollout, *others: Any) -> Any:
        if tf.config.functions_run_eagerly():
            return self._update(rollout, *others)
        tensors = tf.nest.map_structure(tf.convert_to_tensor, [rollout._replace(infos=(), begun=()), *others])
        return self._program(tf.nest.map_structure(tf.TensorSpec.from_tensor, tensors))(*tensors)

    def _program(self, specs: list[Any]) -> Callable[..., Any]:
        """Give the traced update for arguments of some types."""
        key = str([(spec.shape, spec.dtype) for spec in tf.nest.flatten(specs)])
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
        return random_orders(self._settings.value_epochs, count, rng)

    def first_carry(self, num_envs: int) -> Carry:
        """Give what the first update of B environments carries on."""
        return self._preparation.first_carry(num_envs)

    def state(self) -> dict[str, list[np.ndarray]]:
        """Give the values of all variables, by part."""
        parts = self.variables()
        return {part: [np.array(variable.numpy()) for variable in parts[part]] for part in parts}

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
        """Continue with what another learner's policy optimizer, an equal one, remembers."""
        pairs = zip(self._policy_optimizer_state.variables, other._policy_optimizer_state.variables, strict=True)
        for variable, value in pairs:
            variable.assign(value)

    def variables(self) -> dict[str, list[Any]]:
        """Give all variables by part, in an order that the structure of the parts fixes."""
        return {
            "policy": list(self.policy.weights),
            "value function": list(self._value_function.weights),
            "return scale": list(self._return_scale.weights),
            "value optimizer": list(self._value_optimizer.variables),
            "policy optimizer": list(self._policy_optimizer_state.variables),
            "average": [] if self._average is None else list(self._average.weights),
        }

    def has_its_variables(self) -> bool:
        """Tell whether all variables are those that there were when this was made."""
        return list(map(id, self._made_for)) == list(map(id, self._all_variables()))

    def _all_variables(self) -> list[Any]:
        return [variable for part in self.variables().values() for variable in part]

    def _update(
        self, rollout: Rollout, carry: Carry, orders: tf.Tensor, progress: tf.Tensor
    ) -> tuple[UpdateResult, Carry]:
        prepared, after = self.prepare(rollout, carry)
        if self._settings.value_function_first:
            value = self.fit_value_function(prepared, orders)
            again = self.estimate_again(rollout, prepared, carry)
            return UpdateResult(self.improve_policy(again, progress), value), after
        # These two touch no variable in common, so TensorFlow runs them at the same time. XLA compiles the one while
        # the other is traced.
        value, policy = self.fit_value_function(prepared, orders), self.improve_policy(prepared, progress)
        return UpdateResult(policy, value), after

    def _improve_policy(self, prepared: Prepared, progress: tf.Tensor) -> PolicyResult:
        policy, batch = self.policy, prepared.batch
        settings, policy_optimizer = self.numbers.read()
        outcome = policy_optimizer.step(
            policy,
            batch,
            self._policy_optimizer_state,
            progress=progress,
            gamma=settings.gamma,
            chunk_size=self._preparation.chunk_size(batch.observations),
            jit_compile=self._jit_compile,
        )
        bound = estimate_lower_bound(
            batch.rows,
            predicted=outcome.predicted_improvement,
            actual=outcome.actual_improvement,
            max_kl=outcome.max_kl_over_states,
            gamma=settings.gamma,
        )
        parameters = self._parameters(batch)
        figures = policy.action_distribution.figures(parameters)
        # Last of all: every figure of this iteration is by the statistics that the policy acted with.
        if self._average is not None:
            self._average.update(policy, prepared.policy_statistics)
        sound = policy.encoder.update_normalization(prepared.policy_statistics)
        moved = self._parameters(batch)
        return PolicyResult(
            outcome,
            bound,
            {name: weighted_mean(figure, batch.rows.weights) for name, figure in figures.items()},
            normalization_kl=weighted_mean(policy.action_distribution.kl(parameters, moved), batch.rows.weights),
            statistics_are_finite=sound & prepared.sound,
        )

    def _fit_value_function(self, prepared: Prepared, orders: tf.Tensor) -> ValueResult:
        batch, values, targets = prepared.batch, prepared.values, prepared.targets
        # The value function is fitted under the statistics that it will be used with.
        self._value_function.encoder.update_normalization(prepared.value_statistics)
        loss = fit_value_function(
            self._value_function,
            self._value_optimizer,
            prepared.value_observations,
            targets,
            batch.weights,
            orders=orders,
            minibatch_size=self._settings.value_minibatch_size,
            decay=self._settings.value_learning_rate_decay,
            jit_compile=self._jit_compile,
        )
        return ValueResult(
            loss,
            explained_variance(*(as_rows(array, batch.weights) for array in (values, targets, batch.weights))),
            tf.convert_to_tensor(self._value_optimizer.learning_rate),
        )

    def _parameters(self, batch: Batch) -> tf.Tensor:
        """Compute the distribution parameters [N, D] of a batch's samples."""

        def parameters(observations: Any) -> tf.Tensor:
            return from_rows(self.policy.distribution_parameters(observations), batch.weights)

        chunk_size = self._preparation.chunk_size(batch.observations)
        return as_rows(map_over_chunks(parameters, batch.observations, chunk_size), batch.weights)
