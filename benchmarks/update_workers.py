"""`update-workers`: duration and traffic of an update in parts, in one process and on workers."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from benchmarks.timing import Measurement, Row, Table, in_turns, seconds
from benchmarks.workloads import Job, collect_rollout, make_agent
from tf_trpo.learning.learner import Learner
from tf_trpo.learning.parted_learner import PartedLearner
from tf_trpo.workers import PartWorkers
from tf_trpo.workers.ray_crew import RayCrew
from tf_trpo.workers.worker import make_setup

_ENVS = 64


@dataclasses.dataclass(frozen=True)
class UpdateWorkers(Measurement):
    """Measure an update without the value regression, which is never divided into parts."""

    repeats: int = 1
    """Turns of each measurement, each with one update; a first turn does not count."""
    env: str = "HalfCheetah-v5"
    """Gymnasium id."""
    samples: tuple[int, ...] = (50_000, 200_000)
    """Numbers of samples in a batch, from 64 environments; they are rounded down to a multiple of 64."""
    widths: tuple[int, ...] = (64, 256)
    """Numbers of units of each of the two hidden layers."""
    parts: int = 16
    """Number of parts of the batch."""
    counts: tuple[int, ...] = (2,)
    """Numbers of workers."""

    def tables(self) -> list[Table]:
        # Workers keep TensorFlow and its functions, so all measurements use the same ones.
        setup = make_setup(make_agent(Job("update", self.env)).policy, self.env, {}, num_envs=1, seed=0)
        with contextlib.closing(RayCrew(setup, max(self.counts))) as crew:
            for worker in range(crew.size):
                crew.start(worker)
            rows = [self._row(width, samples, crew) for width in self.widths for samples in self.samples]
        return [(f"an update of {self.env} without the value regression, {self.parts} parts", rows)]

    def _row(self, width: int, samples: int, crew: RayCrew) -> Row:
        steps = max(1, samples // _ENVS)
        job = Job("update", self.env, _ENVS, steps, hidden_sizes=(width, width), value_epochs=0)
        agent = make_agent(job)
        rollout, weights = collect_rollout(agent, job), agent.get_weights()
        carry, orders = agent.learner.first_carry(_ENVS), agent.learner.orders(steps, _ENVS, np.random.default_rng(0))

        def timed(learner: Learner) -> Callable[[], float]:
            def run() -> float:
                agent.set_weights(weights)
                return seconds(lambda: learner.update(rollout, carry, orders, tf.constant(0.0, tf.float64)))

            return run

        learners = {"one process": agent.learner, "parts, one process": PartedLearner(agent.learner, self.parts)}
        for count in self.counts:
            some = copy.copy(crew)
            some.size = count
            learners[f"parts, {count} workers"] = spread = PartedLearner(agent.learner, self.parts)
            spread.work_with(PartWorkers(some))
        for learner in learners.values():
            learner.trace(steps, _ENVS)
        found = in_turns({f"{name}, s": timed(learner) for name, learner in learners.items()}, self.repeats, calls=1)
        return {"samples": steps * _ENVS, "hidden layers": f"{width}-{width}", **found, **_traffic(learner)}


def _traffic(learner: Learner) -> Row:
    """Return the rounds and the traffic of the learner's last update, which did not send the functions again."""
    names = {"bytes_sent": "MB sent", "bytes_received": "MB received"}
    rounds = learner.traffic["time/update_rounds"]
    return {"rounds": rounds, **{names[name]: 1e-6 * learner.traffic[f"time/update_{name}"] for name in names}}
