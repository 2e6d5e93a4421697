"""`directions`: measure how close natural directions are to the exact one: by preconditioner and curvature_fraction."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks import workloads
from benchmarks.timing import Row, Table, Tables
from benchmarks.workloads import Job
from tf_trpo.environments import make_vector_environment
from tf_trpo.estimation import Batch
from tf_trpo.models import Policy
from tf_trpo.optimizers import NaturalDirection
from tf_trpo.optimizers.objective import Objective

_EXACT = NaturalDirection(2000, cg_tolerance=1e-6, preconditioner_rank=1024, curvature_fraction=1.0)


@dataclasses.dataclass(frozen=True)
class Directions(Tables):
    """Compare natural directions with the exact solution of the damped system, for policies during training."""

    env: str = "HalfCheetah-v5"
    """Gymnasium id."""
    num_steps: int = 2048
    """Samples of a batch."""
    hidden_size: int = 256
    """Units of each of the two layers."""
    updates: tuple[int, ...] = (0, 10, 30)
    """Updates after which directions are compared."""
    settings: tuple[tuple[int, int, float], ...] = (
        (15, 0, 1.0),
        (15, 0, 0.5),
        (15, 0, 0.25),
        (5, 384, 1.0),
        (5, 384, 0.5),
        (6, 512, 1.0),
    )
    """CG iterations, `preconditioner_rank` (0 for none), and `curvature_fraction`."""

    def tables(self) -> list[Table]:
        job = Job("update", self.env, num_steps=self.num_steps, hidden_sizes=(self.hidden_size, self.hidden_size))
        agent, rows, done = workloads.make_agent(job), [], 0
        for updates in self.updates:
            if updates > done:
                environments = make_vector_environment(self.env, 1)
                agent.fit(environments, updates * self.num_steps, num_steps=self.num_steps, verbose=0)
                environments.close()
                done = updates
            prepared, _ = agent.learner.prepare(workloads.collect_rollout(agent, job), agent.learner.first_carry(1))
            rows += self._rows(agent.policy, prepared.batch, updates)
        network = f"{self.hidden_size}-{self.hidden_size}"
        return [(f"Natural directions, {self.num_steps} samples of {self.env}, {network}", rows)]

    def _rows(self, policy: Policy, batch: Batch, updates: int) -> list[Row]:
        exact = _Direction(policy, batch, _EXACT)
        rows = []
        for iterations, rank, fraction in self.settings:
            settings = NaturalDirection(
                iterations, cg_tolerance=0.0, curvature_fraction=fraction, preconditioner_rank=rank
            )
            found = _Direction(policy, batch, settings)
            rows.append(
                {
                    "updates": updates,
                    "iterations": iterations,
                    "preconditioner_rank": rank,
                    "curvature_fraction": fraction,
                    "1 - cosine to the exact solution": 1 - found.cosine(exact),
                    "predicted improvement, of the exact solution's": found.improvement / exact.improvement,
                }
            )
        return rows


class _Direction:
    """A direction x, and the predicted improvement g'x of the step along x whose quadratic KL is 1/2."""

    def __init__(self, policy: Policy, batch: Batch, direction: NaturalDirection) -> None:
        def solve() -> tuple[Any, ...]:
            objective = Objective(policy, batch, policy.flat_weights)
            gradient = objective.gradient()
            found = direction.solve(objective, gradient)
            return found.solution, found.image, gradient

        compiled = tf.function(solve, jit_compile=True, autograph=False).get_concrete_function()
        self.solution, image, gradient = (tensor.numpy().astype(np.float64) for tensor in compiled())
        self.improvement = float(gradient @ self.solution / np.sqrt(self.solution @ image))

    def cosine(self, other: _Direction) -> float:
        x, y = self.solution, other.solution
        return float(x @ y / (np.linalg.norm(x) * np.linalg.norm(y)))
