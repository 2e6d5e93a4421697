"""How the policy step grows with the batch, and what curvature on a part of it costs in direction."""

from __future__ import annotations

import resource
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tf_trpo.cli.benchmark.roofline import random_policy_and_batch
from tf_trpo.cli.benchmark.timing import Measured, in_turns, seconds
from tf_trpo.estimation import Batch
from tf_trpo.models import Policy
from tf_trpo.numerics import flatten
from tf_trpo.optimizers import TrustRegion

MAX_KL = 0.06


def step_time(
    hidden_sizes: Sequence[int], samples: int, chunk_size: int | None, repeats: int
) -> tuple[Measured, float]:
    """Seconds of a policy step, and by how many MB it raised the most memory that the process ever used."""
    before = _peak_megabytes()
    policy, batch = random_policy_and_batch(hidden_sizes, samples)
    step = _step(policy, batch, TrustRegion(MAX_KL, cg_tolerance=0.0), chunk_size)
    measured = in_turns({"step": lambda: seconds(step)}, repeats)["step"]
    return measured, _peak_megabytes() - before


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
    """What the fractions cost and save, on one batch; the first should be 1."""
    steps = {}
    workloads = {}
    for fraction in fractions:
        optimizer = TrustRegion(MAX_KL, cg_tolerance=0.0, curvature_fraction=fraction)
        step = _step(policy, batch, optimizer, None)
        steps[fraction] = step()
        workloads[str(fraction)] = lambda step=step: seconds(step)
    times = in_turns(workloads, repeats)
    full, _, full_improvement = steps[fractions[0]]
    return [
        Curvature(
            fraction,
            times[str(fraction)],
            float(full @ change / np.linalg.norm(full) / np.linalg.norm(change)),
            kl,
            improvement / full_improvement,
        )
        for fraction, (change, kl, improvement) in steps.items()
    ]


def _step(
    policy: Policy, batch: Batch, optimizer: TrustRegion, chunk_size: int | None
) -> Callable[[], tuple[np.ndarray, float, float]]:
    """A step from the same weights every time: (change of the parameters, KL, improvement)."""
    weights = policy.get_weights()
    compiled = tf.function(
        lambda batch: optimizer.step(policy, batch, chunk_size=chunk_size), jit_compile=True, autograph=False
    )

    def theta() -> np.ndarray:
        return flatten([variable.value for variable in policy.trainable_variables]).numpy()

    def step() -> tuple[np.ndarray, float, float]:
        policy.set_weights(weights)
        start = theta()
        outcome = compiled(batch)
        result = theta() - start, float(outcome.kl), float(outcome.actual_improvement)
        policy.set_weights(weights)
        return result

    return step


def _peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
