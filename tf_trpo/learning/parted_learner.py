"""A learner that computes the policy step in parts of the batch, in this process or on workers."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import tensorflow as tf

from tf_trpo.learning.learner import Learner
from tf_trpo.learning.programs import key_of
from tf_trpo.learning.results import PolicyResult, UpdateResult, ValueResult, fetched
from tf_trpo.learning.samples import Carry, Prepared, as_tensors
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
        self._num_parts = parts
        self._saved: dict[str, bytes] = {}
        self._functions, self._home = b"", Home()
        self.work_with(self._home)
        self._improve_by_parts()

    def compile(self, jit_compile: bool) -> None:
        super().compile(jit_compile)
        self._improve_by_parts()

    def _improve_by_parts(self) -> None:
        self._report_step = tf.function(self._reported, autograph=False)
        self.improve_policy = self._improve_in_parts

    def work_with(self, crew: PartCrew) -> None:
        """Let a crew compute the parts from now on."""
        self.crew = crew
        self._sums = CrewSums(crew, self._num_parts, self._functions)
        self._noted: Mapping[str, int] = _NONE

    def rest(self) -> None:
        """Let this process compute the parts from now on, and forget the rows of the last batch."""
        self._home.forget_rows()
        self.work_with(self._home)

    def _trace(self, specs: list[Any]) -> None:
        key = key_of(specs)
        if key not in self._saved:
            self._saved[key] = self._saved_functions(*specs)
        if self._functions is not self._saved[key]:
            self._functions = self._saved[key]
            self.work_with(self.crew)

    def _saved_functions(self, rollout: Any, carry: Any, orders: Any, progress: Any, totals: Any) -> bytes:
        """Trace the update for arguments with these specs, and return the functions of parts that it needs."""
        traced = self.prepare.get_concrete_function(rollout, carry, totals)  # type: ignore[attr-defined]
        prepared, _ = _specs(traced.structured_outputs)
        self.fit_value_functions.get_concrete_function(prepared, orders)  # type: ignore[attr-defined]
        count = prepared.batch.weights.shape[0]
        most = f"at most the samples, or segments, of a batch, {count}"
        require(self._num_parts <= count, "update_parts", most, self._num_parts)
        noted = NotedFunctions(self._num_parts, self._preparation.chunk_size(prepared.batch.observations))
        step = functools.partial(self._step, objective=functools.partial(PartedObjective, sums=noted))
        try:
            traced = tf.function(step, autograph=False).get_concrete_function(prepared.batch, progress)
        except NotInPartsError as error:
            algorithm = type(self.numbers.algorithm).__name__
            raise ValueError(f"update_parts must be None with {algorithm}: {error}") from error
        outcome, _ = _specs(traced.structured_outputs)
        self._report_step.get_concrete_function(prepared, outcome, tf.TensorSpec((), tf.float64))
        return saved_functions(self.policy, noted.functions)

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
        crew = self._sums.crew
        return {"rounds": self._sums.rounds, "bytes_sent": crew.sent, "bytes_received": crew.received}

    def _improve_in_parts(self, prepared: Prepared, progress: tf.Tensor) -> PolicyResult:
        objective = functools.partial(PartedObjective, sums=self._sums)
        outcome, gamma = self._step(prepared.batch, progress, objective=objective)
        result: PolicyResult = self._report_step(prepared, outcome, tf.convert_to_tensor(gamma, tf.float64))
        return result


def _specs(structure: Any) -> Any:
    return tf.nest.map_structure(
        lambda each: None if each is None else tf.TensorSpec(each.shape, each.dtype), structure
    )


def in_parts(learner: Learner, parts: int) -> PartedLearner:
    """Return a learner in parts, which the other learner keeps with all that it has traced."""
    if parts not in learner.parted:
        learner.parted[parts] = PartedLearner(learner, parts)
    return learner.parted[parts]
