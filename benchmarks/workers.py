"""`workers`: measure cost and gain of workers on this machine, and predict more machines by a cost model."""

from __future__ import annotations

import dataclasses
import functools
import time
from contextlib import ExitStack
from typing import Any, NamedTuple

import gymnasium as gym
import keras
import numpy as np

import tf_trpo
from benchmarks import workloads
from benchmarks.tasks import MEMORY
from benchmarks.timing import Measured, Measurement, Row, Table, in_turns
from benchmarks.workloads import Job
from tf_trpo.environments import VectorBackend
from tf_trpo.models.settings import PolicySettings, ValueSettings
from tf_trpo.rollouts import default_shards

IMAGES = "Frames-v0"
"""Id of an environment with observations of the size of an Atari game, whose steps take no time."""
_WRAPPER = "benchmarks.tasks:{kind}({microseconds})"


class Costs(NamedTuple):
    """The parameters of the cost model for one kind of environment.

    Attributes:
      step: seconds of a worker for a step of one environment, including acting.
      update: seconds of an update that do not depend on the number of samples.
      sample: seconds of an update per sample.
      call: upper bound of the learner's seconds per shard; it includes waiting for a worker's answer.
      sample_bytes: bytes that are transferred per sample.
    """

    step: float
    update: float
    sample: float
    call: float
    sample_bytes: float

    def predicted(self, workers: int, rows: int, bandwidth: float) -> Row:
        """Predict an iteration of workers with one shard each.

        Args:
          workers: number of workers.
          rows: steps of each worker in an iteration.
          bandwidth: bytes per second into the learner's machine.
        """
        samples = workers * rows
        collection, calls = rows * self.step, workers * self.call
        transfer, update = samples * self.sample_bytes / bandwidth, self.update + samples * self.sample
        total = collection + calls + transfer + update
        return {
            "workers": workers,
            "samples": samples,
            "slowest shard, s": collection,
            "calls, s": calls,
            "transfer, s": transfer,
            "update, s": update,
            "steps/s": samples / total,
            "of which collection, %": 100 * collection / total,
            "GB an iteration": 1e-9 * samples * self.sample_bytes,
        }


@dataclasses.dataclass(frozen=True)
class Workers(Measurement):
    """Compare trainings with workers to one process, and predict larger ones by the cost model."""

    repeats: int = 3
    iterations: int = 6
    """Iterations of a training that count, after one of warm-up."""
    counts: tuple[int, ...] = (1, 2)
    """Numbers of workers."""
    microseconds: tuple[int, ...] = (1000, 5000)
    """Microseconds that are added to each step, for slow environments."""
    bandwidth: float = 1.25e9
    """Bytes per second into the learner's machine, for the predictions; 1.25e9 is 10 Gbit/s."""
    predict: tuple[int, ...] = (16, 128, 1024)
    """Numbers of workers to predict."""
    rows: int = 1024
    """Steps of a worker in a predicted iteration: 8 environments, 128 rows."""

    def tables(self) -> list[Table]:
        gym.register(IMAGES, "benchmarks.tasks:Frames", disable_env_checker=True)
        cheetah = Job("train", "HalfCheetah-v5", 16, 128, iterations=self.iterations)
        images = Job("train", IMAGES, 16, 16, iterations=self.iterations)
        measured = {job.env: self._measured(job, shards=2) for job in (cheetah, images)}
        slow = [self._slow(kind, microseconds) for kind in ("Busy", "Waiting") for microseconds in self.microseconds]
        call = self._call()
        costs = {
            "HalfCheetah-v5": self._costs(cheetah, (2048, 8192), call, 17 * 8 + 6 * 4 * 2 + 11),
            "images [84, 84, 4], steps of 1 ms": self._costs(images, (256, 512), call, 84 * 84 * 4 + 6 * 4 + 4 + 11),
        }
        title = "seconds an iteration, 16 environments in 2 shards"
        return [
            (title, [{"environment": env, **found, **self._overheads(found)} for env, found in measured.items()]),
            ("collection of CartPole-v1, steps/s", [self._default_shards(num_envs) for num_envs in (16, 64)]),
            ("peak memory of a worker of CartPole-v1, MB", [self._memory()]),
            ("slow environments, seconds an iteration of 8 environments, 32 rows, 2 shards", slow),
            ("parameters of the cost model", [{"environment": env, **cost._asdict()} for env, cost in costs.items()]),
            *(
                (f"predicted: {env}", [cost.predicted(count, self.rows, self.bandwidth) for count in self.predict])
                for env, cost in costs.items()
            ),
        ]

    def _measured(self, job: Job, shards: int) -> dict[str, Measured]:
        ways = {"one process": functools.partial(_iteration, job, shards=shards)}
        for count in self.counts:
            ways[f"workers {count}"] = functools.partial(_iteration, job, shards=shards, workers=count)
        return in_turns(ways, self.repeats, calls=1)

    def _overheads(self, found: dict[str, Measured]) -> Row:
        one = found["one process"].median
        return {f"overhead of {count}, %": 100 * (found[f"workers {count}"].median / one - 1) for count in self.counts}

    def _default_shards(self, num_envs: int) -> Row:
        """Compare collection in the default number of shards to one shard, in one process."""
        job, shards = Job("collect", "CartPole-v1", num_envs, 128), default_shards(num_envs)
        with ExitStack() as stack:
            counts = {"1 shard": 1, "default": shards}
            ways = {name: workloads.collect(job, "sync", stack, count) for name, count in counts.items()}
            found = in_turns(ways, self.repeats)
        slower = 100 * (found["1 shard"].median / found["default"].median - 1)
        return {"environments": num_envs, "shards": shards, **found, "slower, %": slower}

    def _memory(self) -> Row:
        job, wrappers = Job("train", "CartPole-v1", 8, 64, iterations=1), ["benchmarks.tasks:Weighed"]
        options: Any = {"wrappers": wrappers, "shards": 1, "workers": 1, "info_keys": [MEMORY]}
        # Rollouts with this figure are not equal in all processes.
        options["allow_different_workers"] = True

        def peak(parts: int | None) -> float:
            return _trained(job, update_parts=parts, **options).memory

        ways = {"without TensorFlow": lambda: peak(None), "with TensorFlow, for parts of updates": lambda: peak(1)}
        return in_turns(ways, self.repeats, calls=1)

    def _slow(self, kind: str, microseconds: int) -> Row:
        job = Job("train", "CartPole-v1", 8, 32, iterations=self.iterations)
        options: Any = {"shards": 2, "wrappers": [_WRAPPER.format(kind=kind, microseconds=microseconds)]}
        ways = {
            "one process": functools.partial(_iteration, job, **options),
            "async": functools.partial(_iteration, job, backend="async", **options),
            "workers 2": functools.partial(_iteration, job, workers=2, **options),
        }
        found = in_turns(ways, self.repeats, calls=1)
        gain = found["one process"].median / found["workers 2"].median
        return {"steps": f"{kind.lower()}, {1e-3 * microseconds:g} ms", **found, "times as fast": gain}

    def _call(self) -> float:
        """Measure the seconds of a call with nearly no work, one call after the other."""
        job = Job("train", "CartPole-v1", 16, 4, iterations=30)
        ways = {count: functools.partial(_iteration, job, shards=16, workers=count) for count in (0, 1)}
        found = in_turns({str(count): way for count, way in ways.items()}, self.repeats, calls=1)
        return max(0.0, found["1"].median - found["0"].median) / 16

    def _costs(self, job: Job, sizes: tuple[int, int], call: float, sample_bytes: float) -> Costs:
        with ExitStack() as stack:
            alone = job._replace(num_envs=8)
            step = 1 / workloads.collect(alone, "sync", stack)()
        if job.env == IMAGES:
            step += 1e-3
        updates = [self._update(job._replace(num_envs=8, num_steps=size // 8)) for size in sizes]
        sample = (updates[1] - updates[0]) / (sizes[1] - sizes[0])
        return Costs(step, max(0.0, updates[0] - sample * sizes[0]), sample, call, sample_bytes)

    def _update(self, job: Job) -> float:
        return in_turns({"update": workloads.update(job)}, 1)["update"].median


class _Marks(keras.callbacks.Callback):
    """Records the times at which iterations begin and the last one ends, and the memory that `Weighed` adds."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.times.append(time.perf_counter())

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.last = time.perf_counter()
        memory = self.params["trainer"].rollout.infos.get(MEMORY)
        self.memory = 0.0 if memory is None else float(np.nanmax(memory))


def _iteration(job: Job, **options: Any) -> float:
    """Measure the seconds of an iteration of a training, as the median of all after the first."""
    marks = _trained(job, **options)
    return float(np.median(np.diff([*marks.times[1:], marks.last])))


def _trained(job: Job, *, backend: VectorBackend = "sync", wrappers: Any = (), **options: Any) -> _Marks:
    """Train for an iteration of warm-up and those of the job; the options are those of `fit`."""
    settings: Any = {"policy": PolicySettings(), "value": ValueSettings(), "seed": 0}
    agent = tf_trpo.TRPO.for_env(job.env, wrappers=wrappers, **settings)
    marks = _Marks()
    agent.fit(
        job.env,
        # Fewer steps than rows, because some rows are resets and not steps.
        int(0.9 * job.num_envs * job.num_steps * (job.iterations + 1)),
        num_envs=job.num_envs,
        num_steps=job.num_steps,
        backend=backend,
        wrappers=wrappers,
        callbacks=[marks],
        verbose=0,
        **options,
    )
    return marks
