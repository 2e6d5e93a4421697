"""`scaling`: measure the policy step for growing batches, and with its curvature on a part of the batch."""

from __future__ import annotations

import dataclasses
import resource

import numpy as np
import tensorflow as tf

from benchmarks import workloads
from benchmarks.roofline import random_policy_and_batch
from benchmarks.timing import Measurement, Row, Table, in_turns, seconds
from benchmarks.workloads import Job
from tf_trpo.estimation import Batch
from tf_trpo.models import Policy
from tf_trpo.optimizers import NaturalDirection, Outcome, TrustRegion

MAX_KL = 0.06


@dataclasses.dataclass(frozen=True)
class Scaling(Measurement):
    """Measure time and memory of the policy step for growing batches, and the effect of curvature on fewer samples."""

    samples: tuple[int, ...] = (2048, 8192, 20_000, 65_536, 200_000)
    """Sizes of the batches, increasing."""
    chunk_size: int = 32_768
    """Number of samples in memory at once."""
    hidden_size: int = 64
    """Units of each of the two layers."""
    fractions: tuple[float, ...] = (1.0, 0.5, 0.25, 0.1, 0.05)
    """Curvature fractions; the first one is the reference for the others."""
    rollout: int = 8192
    """Number of HalfCheetah-v5 samples for the comparison of fractions."""

    def tables(self) -> list[Table]:
        title = f"Policy step, {self.hidden_size}-{self.hidden_size}, chunks of {self.chunk_size}"
        curvature = f"Curvature on a part of {self.rollout} samples of HalfCheetah-v5"
        return [(title, [self._growth(samples) for samples in self.samples]), (curvature, self._curvature())]

    def _growth(self, samples: int) -> Row:
        policy, batch = random_policy_and_batch((self.hidden_size, self.hidden_size), samples)
        step = _Step(policy, batch, TrustRegion(MAX_KL, direction=NaturalDirection(cg_tolerance=0.0)), self.chunk_size)
        time = in_turns({"step": step.seconds}, self.repeats)["step"]
        return {
            "samples": samples,
            "policy step, ms": time.times(1e3),
            "us per sample": 1e6 * time.median / samples,
            "peak memory of the process, MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }

    def _curvature(self) -> list[Row]:
        hidden_sizes = (self.hidden_size, self.hidden_size)
        job = Job("update", "HalfCheetah-v5", num_steps=self.rollout, hidden_sizes=hidden_sizes)
        agent = workloads.make_agent(job)
        prepared, _ = agent.learner.prepare(workloads.collect_rollout(agent, job), agent.learner.first_carry(1))
        steps = {
            fraction: _Step(
                agent.policy,
                prepared.batch,
                TrustRegion(MAX_KL, direction=NaturalDirection(cg_tolerance=0.0, curvature_fraction=fraction)),
                None,
            )
            for fraction in self.fractions
        }
        times = in_turns({str(fraction): step.seconds for fraction, step in steps.items()}, self.repeats)
        found = {fraction: step.change_and_outcome() for fraction, step in steps.items()}
        full, full_outcome = found[self.fractions[0]]
        return [
            {
                "curvature fraction": fraction,
                "policy step, ms": times[str(fraction)].times(1e3),
                "cosine to the full step": float(full @ change / (np.linalg.norm(full) * np.linalg.norm(change))),
                "KL": float(outcome.kl),
                "improvement, of the full step's": float(outcome.actual_improvement / full_outcome.actual_improvement),
            }
            for fraction, (change, outcome) in found.items()
        ]


class _Step:
    """A policy step, from the same weights every time."""

    def __init__(self, policy: Policy, batch: Batch, optimizer: TrustRegion, chunk_size: int | None) -> None:
        self._policy = policy
        self._batch = batch
        self._weights = policy.get_weights()
        state = optimizer.make_state(policy)
        self._step = tf.function(
            lambda batch: optimizer.step(policy, batch, state, progress=0.0, gamma=0.99, chunk_size=chunk_size),
            jit_compile=True,
            autograph=False,
        )

    def seconds(self) -> float:
        self._policy.set_weights(self._weights)
        return seconds(lambda: self._step(self._batch).kl.numpy())

    def change_and_outcome(self) -> tuple[np.ndarray, Outcome]:
        """Take a step; return the change of the parameters [P] and the outcome."""
        self._policy.set_weights(self._weights)
        before = self._theta()
        outcome = self._step(self._batch)
        return self._theta() - before, outcome

    def _theta(self) -> np.ndarray:
        return self._policy.flat_weights.numpy()
