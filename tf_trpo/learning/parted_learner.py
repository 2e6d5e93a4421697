"""A learner that computes the policy step in parts of the batch, in this process or on workers."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import tensorflow as tf

from tf_trpo.learning.learner import Learner
from tf_trpo.learning.prepared import Carry, Prepared, as_tensors
from tf_trpo.learning.results import PolicyResult, UpdateResult, ValueResult, fetched
from tf_trpo.optimizers.parted_objective import (
    CrewSums,
    Home,
    NotedFunctions,
    NotInPartsError,
    PartCrew,
    PartedObjective,
)
from tf_trpo.optimizers.parts import saved_functions
from tf_trpo.ranges import require
from tf_trpo.rollouts import Rollout

_NONE = {"rounds": 0, "bytes_sent": 0, "bytes_received": 0}


class PartedLearner(Learner):
    """A learner that shares the variables and the traced functions of another learner.

    Gradients, Fisher-vector products and figures of the policy are computed on equal parts of the batch, and the
    results are added in the order of the parts. So the new weights depend on the number of parts, but not on the
    processes that compute them. This process prepares the samples, searches for the step, and fits the value functions.

    Args:
      learner: the other learner.
      parts: number of parts.

    Attributes:
      crew: computes the parts; by default this process.

    Raises:
      ValueError: when the update is traced, if there are more parts than samples or segments, or if the algorithm needs
        a function that is not computed in parts.
    """

    def __init__(self, learner: Learner, parts: int) -> None:
        vars(self).update(vars(learner))
        self._parts = parts
        self._sums: CrewSums | None = None
        self._noted: Mapping[str, int] = _NONE
        self.crew: PartCrew = Home()
        self._improve_by_parts()

    def compile(self, jit_compile: bool) -> None:
        super().compile(jit_compile)
        self._improve_by_parts()

    def _improve_by_parts(self) -> None:
        self._report_step = tf.function(self._reported, autograph=False)
        self.improve_policy = self._improve_in_parts

    def work_with(self, crew: PartCrew) -> None:
        """Let a crew compute the parts from now on."""
        self.crew, self._noted = crew, _NONE
        if self._sums is not None:
            self._sums = CrewSums(crew, self._parts, self._functions)

    def _trace(self, specs: list[Any]) -> None:
        if self._sums is not None:
            return
        rollout, carry, orders, progress, totals = specs
        traced = self.prepare.get_concrete_function(rollout, carry, totals)  # type: ignore[attr-defined]
        prepared, _ = tf.nest.map_structure(
            lambda tensor: tf.TensorSpec(tensor.shape, tensor.dtype), traced.structured_outputs
        )
        self.fit_value_functions.get_concrete_function(prepared, orders)  # type: ignore[attr-defined]
        count = prepared.batch.weights.shape[0]
        require(
            self._parts <= count, "update_parts", f"at most the samples, or segments, of a batch, {count}", self._parts
        )
        noted = NotedFunctions(self._parts, self._preparation.chunk_size(prepared.batch.observations))
        step = functools.partial(self._step, objective=functools.partial(PartedObjective, sums=noted))
        try:
            tf.function(step, autograph=False).get_concrete_function(prepared.batch, progress)
        except NotInPartsError as error:
            algorithm = type(self.numbers.algorithm).__name__
            raise ValueError(f"update_parts must be None with {algorithm}: {error}") from error
        self._functions = saved_functions(self.policy, noted.functions)
        self._sums = CrewSums(self.crew, self._parts, self._functions)

    def _run(self, rollout: Rollout, *others: Any) -> tuple[UpdateResult, Carry]:
        result, after = self._update(*as_tensors(rollout, *others))
        # The first update counts the functions, too, which were sent before.
        before, self._noted = self._noted, self._traffic()
        self.traffic = {f"time/update_{name}": now - before[name] for name, now in self._noted.items()}
        return fetched(result, after)

    def _fit_and_improve(
        self, prepared: Prepared, orders: tf.Tensor, progress: tf.Tensor
    ) -> tuple[list[ValueResult], PolicyResult]:
        # This process is mostly idle while workers compute.
        with ThreadPoolExecutor(1) as thread:
            fitted = thread.submit(self.fit_value_functions, prepared, orders)
            policy = self.improve_policy(prepared, progress)
            return fitted.result(), policy

    def _traffic(self) -> dict[str, int]:
        assert self._sums is not None
        crew = self._sums.crew
        return {"rounds": self._sums.rounds, "bytes_sent": crew.sent, "bytes_received": crew.received}

    def _improve_in_parts(self, prepared: Prepared, progress: tf.Tensor) -> PolicyResult:
        assert self._sums is not None
        outcome, gamma = self._step(
            prepared.batch, progress, objective=functools.partial(PartedObjective, sums=self._sums)
        )
        result: PolicyResult = self._report_step(prepared, outcome, tf.convert_to_tensor(gamma, tf.float64))
        return result
