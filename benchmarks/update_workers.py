"""`update-workers`: duration of an update in parts, in one process and on workers, and of an ordinary update."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

import tf_trpo
from benchmarks.timing import Measurement, Row, Table, in_turns, seconds
from benchmarks.workloads import Job, collect_rollout, make_agent
from tf_trpo.rollouts import PartWorkers
from tf_trpo.rollouts.ray_crew import RayCrew
from tf_trpo.rollouts.worker import make_setup
from tf_trpo.training.learner import Learner
from tf_trpo.training.parted_learner import PartedLearner


@dataclasses.dataclass(frozen=True)
class UpdateWorkers(Measurement):
    """Measure an update without the value regression, which is never divided into parts."""

    repeats: int = 3
    env: str = "HalfCheetah-v5"
    """Gymnasium id."""
    samples: int = 200_000
    """Number of samples in the batch, from 64 environments."""
    widths: tuple[int, ...] = (64, 256)
    """Numbers of units of each of the two hidden layers."""
    parts: int = 16
    """Number of parts of the batch."""
    counts: tuple[int, ...] = (2,)
    """Numbers of workers."""

    def tables(self) -> list[Table]:
        rows = [row for width in self.widths for row in self._rows(width)]
        return [(f"an update of {self.env} without the value regression, {self.parts} parts", rows)]

    def _rows(self, width: int) -> list[Row]:
        job = Job("update", self.env, 64, max(1, self.samples // 64), hidden_sizes=(width, width), value_epochs=0)
        agent = make_agent(job)
        rollout, weights = collect_rollout(agent, job), agent.get_weights()
        carry, orders = agent.learner.first_carry(64), agent.learner.orders(job.num_steps, 64, np.random.default_rng(0))

        def timed(learner: Learner) -> Callable[[], float]:
            def run() -> float:
                agent.set_weights(weights)
                return seconds(lambda: learner.update(rollout, carry, orders, tf.constant(0.0, tf.float64)))

            return run

        with contextlib.ExitStack() as stack:
            learners = {
                "ordinary": agent.learner,
                "in parts, one process": PartedLearner(agent.learner, self.parts, True),
            }
            for count in self.counts:
                learners[f"in parts, {count} workers"] = stack.enter_context(self._spread(agent, count))
            for learner in learners.values():
                learner.trace(job.num_steps, 64)
            found = in_turns({name: timed(learner) for name, learner in learners.items()}, self.repeats)
            return [
                {"hidden layers": f"{width}-{width}", "update": name, "seconds": found[name], **_travels(learner)}
                for name, learner in learners.items()
            ]

    @contextlib.contextmanager
    def _spread(self, agent: tf_trpo.TRPO, count: int) -> Iterator[Learner]:
        learner = PartedLearner(agent.learner, self.parts, True)
        setup = make_setup(agent.policy, self.env, {}, num_envs=1, seed=0)
        with contextlib.closing(RayCrew(setup, count)) as crew:
            learner.work_with(PartWorkers(crew))
            yield learner


def _travels(learner: Learner) -> Row:
    names = {"rounds": "rounds", "bytes_sent": "MB sent", "bytes_received": "MB received"}
    scales = {"rounds": 1.0}
    return {
        shown: scales.get(name, 1e-6) * learner.traffic.get(f"time/update_{name}", 0) for name, shown in names.items()
    }
