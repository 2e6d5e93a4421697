"""How the policy step grows with the batch, and what curvature on a part of it costs in direction."""

from __future__ import annotations

import resource
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tf_trpo.cli.benchmark.roofline import random_policy_and_batch
from tf_trpo.cli.benchmark.timing import Measured, in_turns, seconds
from tf_trpo.estimation import Batch
from tf_trpo.models import Policy
from tf_trpo.optimizers import Outcome, TrustRegion

MAX_KL = 0.06


def step_time(
    hidden_sizes: Sequence[int], samples: int, chunk_size: int | None, repeats: int
) -> tuple[Measured, float]:
    """Seconds of a policy step, and the most memory, in MB, that the process ever used until now."""
    policy, batch = random_policy_and_batch(hidden_sizes, samples)
    step = _Step(policy, batch, TrustRegion(MAX_KL, cg_tolerance=0.0), chunk_size)
    measured = in_turns({"step": step.seconds}, repeats)["step"]
    return measured, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Curvature(NamedTuple):
    """A policy step with its curvature from a part of the samples.

    Attributes:
      fraction: the part.
      time: seconds of a step.
      cosine: of the angle between the step and that with all samples.
      kl: mean KL of the step taken, on all samples.
      improvement: of the surrogate, on all samples, over that of the step with all.
    """

    fraction: float
    time: Measured
    cosine: float
    kl: float
    improvement: float


def curvature_fractions(policy: Policy, batch: Batch, fractions: Sequence[float], repeats: int) -> list[Curvature]:
    """What the fractions cost and save, on one batch; the first must be 1."""
    steps = [
        _Step(policy, batch, TrustRegion(MAX_KL, cg_tolerance=0.0, curvature_fraction=fraction), None)
        for fraction in fractions
    ]
    times = in_turns({str(i): step.seconds for i, step in enumerate(steps)}, repeats)
    changes, outcomes = zip(*(step.change_and_outcome() for step in steps), strict=True)
    full = changes[0]
    return [
        Curvature(
            fraction,
            times[str(i)],
            float(np.divide(full @ changes[i], np.linalg.norm(full) * np.linalg.norm(changes[i]))),
            float(outcomes[i].kl),
            float(np.divide(outcomes[i].actual_improvement, outcomes[0].actual_improvement)),
        )
        for i, fraction in enumerate(fractions)
    ]


class _Step:
    """A policy step, from the same weights every time."""

    def __init__(self, policy: Policy, batch: Batch, optimizer: TrustRegion, chunk_size: int | None) -> None:
        self._policy = policy
        self._batch = batch
        self._weights = policy.get_weights()
        self._step = tf.function(
            lambda batch: optimizer.step(policy, batch, chunk_size=chunk_size), jit_compile=True, autograph=False
        )

    def seconds(self) -> float:
        self._policy.set_weights(self._weights)
        return seconds(lambda: self._step(self._batch).kl.numpy())

    def change_and_outcome(self) -> tuple[np.ndarray, Outcome]:
        """How the parameters change [P], and the outcome."""
        self._policy.set_weights(self._weights)
        before = self._theta()
        outcome = self._step(self._batch)
        return self._theta() - before, outcome

    def _theta(self) -> np.ndarray:
        return self._policy.flat_weights.numpy()
