"""Each command: from its options to the rows of its tables."""

from __future__ import annotations

import functools
import itertools
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tf_trpo.cli.benchmark import settings as options
from tf_trpo.cli.benchmark import workloads
from tf_trpo.cli.benchmark.load import Load, load, running_server
from tf_trpo.cli.benchmark.peer import Peer
from tf_trpo.cli.benchmark.roofline import fisher_against_matrix_products
from tf_trpo.cli.benchmark.scaling import curvature_fractions, step_time
from tf_trpo.cli.benchmark.timing import CALLS, Measured, in_turns
from tf_trpo.cli.benchmark.workloads import Job
from tf_trpo.serving.local_policy import LocalPolicy

Row = dict[str, Any]
"""Column -> number, text or `Measured`."""
Table = tuple[str, list[Row]]
"""Title and rows."""


def update(command: options.Update, peer: Peer | None) -> list[Table]:
    rows = []
    for size in command.hidden_sizes:
        for work, epochs, ours in (("policy step", 0, workloads.policy_step), ("whole update", 10, workloads.update)):
            job = Job(
                "update",
                "HalfCheetah-v5",
                num_steps=command.num_steps,
                hidden_sizes=(size, size),
                value_epochs=epochs,
                threads=command.threads,
            )
            measured = _both(ours(job), job, peer, command.repeats)
            rows.append({"work": f"{work}, {size}-{size}", **_compared(measured, "ms", 1e3, faster="shorter")})
    job = Job("update", "HalfCheetah-v5", num_steps=command.num_steps, threads=command.threads)
    with ExitStack() as stack:
        parts = in_turns(workloads.parts_of_iteration(job, stack), command.repeats)
    start = in_turns({"start": workloads.start_to_first_update}, command.repeats, calls=1)["start"]
    return [
        (f"Update, {command.num_steps} samples of HalfCheetah-v5, 15 CG iterations", rows),
        (
            f"One iteration of {command.num_steps} steps of HalfCheetah-v5, 64-64, part by part",
            [{"part": name, "ms": _scaled(time, 1e3)} for name, time in parts.items()],
        ),
        ("A new process, from its start to the end of its first update", [{"seconds": start}]),
    ]


def collect(command: options.Collect, peer: Peer | None) -> list[Table]:
    rows = []
    for env, backend, num_envs in itertools.product(command.envs, command.backends, command.num_envs):
        num_steps = max(1, command.rows // num_envs)
        job = Job("collect", env, num_envs, num_steps, value_epochs=0, threads=command.threads)
        with ExitStack() as stack:
            ways: dict[str, Callable[[], float]] = {
                "ours": workloads.collect(job, backend, stack),
                "raw": workloads.step_at_random(job, backend, stack, gymnasium=backend == "sync"),
            }
            if backend == "sync":
                ways["raw, no infos"] = workloads.step_at_random(job, backend, stack)
            if peer is not None and backend == "sync":
                ways["sb3"] = functools.partial(peer.run, job)
            measured = in_turns(ways, command.repeats)
        row: Row = {"environment": env, "backend": backend, "environments": num_envs}
        row |= {f"{name}, steps/s": figure for name, figure in measured.items()}
        for name in ("raw", "raw, no infos"):
            if name in measured:
                row[f"ours / {name}"] = measured["ours"].median / measured[name].median
        rows.append(row)
    return [("Collection against random actions", rows)]


def train(command: options.Train, peer: Peer | None) -> list[Table]:
    rows = []
    for env, num_envs in (("HalfCheetah-v5", 1), ("Hopper-v5", 1), ("CartPole-v1", 1), ("HalfCheetah-v5", 8)):
        num_steps = max(1, command.rows // num_envs)
        job = Job("train", env, num_envs, num_steps, iterations=command.iterations, threads=command.threads)
        for backend in command.backends:
            with ExitStack() as stack:
                measured = _both(workloads.train(job, backend, stack), job, peer, command.repeats, calls=1)
            row = {"environment": env, "environments": num_envs, "backend": backend}
            rows.append(row | _compared(measured, "steps/s", 1.0, faster="more"))
    return [(f"Training end to end, {command.rows} steps an iteration", rows)]


def scaling(command: options.Scaling) -> list[Table]:
    hidden_sizes = (command.hidden_size, command.hidden_size)
    growth = []
    for samples in command.samples:
        time, megabytes = step_time(hidden_sizes, samples, command.chunk_size, command.repeats)
        growth.append(
            {
                "samples": samples,
                "policy step, ms": _scaled(time, 1e3),
                "us per sample": 1e6 * time.median / samples,
                "peak memory of the process, MB": megabytes,
            }
        )
    job = Job("update", "HalfCheetah-v5", num_steps=command.rollout, hidden_sizes=hidden_sizes)
    agent = workloads.make_agent(job)
    prepared, _ = agent.learner.prepare(workloads.collect_rollout(agent, job), tf.zeros([1]))
    curvature = [
        {
            "curvature fraction": found.fraction,
            "policy step, ms": _scaled(found.time, 1e3),
            "cosine to the full step": found.cosine,
            "KL": found.kl,
            "improvement, of the full step's": found.improvement,
        }
        for found in curvature_fractions(agent.policy, prepared.batch, command.fractions, command.repeats)
    ]
    return [
        (f"Policy step, {command.hidden_size}-{command.hidden_size}, chunks of {command.chunk_size}", growth),
        (f"Curvature on a part of {command.rollout} samples of HalfCheetah-v5", curvature),
    ]


def roofline(command: options.Roofline) -> list[Table]:
    rows = []
    for size in command.hidden_sizes:
        for samples in command.samples:
            fisher, matrix = fisher_against_matrix_products((size, size), samples, command.repeats)
            rows.append(
                {
                    "network": f"{size}-{size}",
                    "samples": samples,
                    "Fisher-vector product, ms": _scaled(fisher, 1e3),
                    "bare matrix products, ms": _scaled(matrix, 1e3),
                    "ratio": fisher.median / matrix.median,
                }
            )
    return [("Fisher-vector product against the matrix products in it", rows)]


def serve(command: options.Serve) -> list[Table]:
    with ExitStack() as stack:
        model = command.model or _untrained_model(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        shape = LocalPolicy(model).observation_shape
        observation = np.zeros([size or 1 for size in shape]).tolist()
        most = max(command.clients)
        servers = {
            batching: stack.enter_context(running_server(model, batching=batching, max_waiting=2 * most))
            for batching in (True, False)
        }
        found: dict[tuple[int, bool], list[Load]] = {}
        # In turns, so that whatever else the machine does falls on all alike.
        for _ in range(command.repeats):
            for clients, batching in itertools.product(command.clients, servers):
                turn = load(servers[batching], observation, clients, command.seconds)
                found.setdefault((clients, batching), []).append(turn)
    rows = []
    for (clients, batching), turns in found.items():
        rate, p50, p99 = (Measured(values) for values in zip(*turns, strict=True))
        row: Row = {"clients": clients, "batching": "yes" if batching else "no", "requests/s": rate}
        rows.append({**row, "p50, ms": _scaled(p50, 1e3), "p99, ms": _scaled(p99, 1e3)})
    return [(f"The REST server, one observation {list(shape)} a request", rows)]


def _untrained_model(folder: Path) -> Path:
    model = folder / "HalfCheetah-v5"
    workloads.make_agent(Job("update", "HalfCheetah-v5")).export(model)
    return model


def _both(
    ours: Callable[[], float], job: Job, peer: Peer | None, repeats: int, calls: int = CALLS
) -> dict[str, Measured]:
    ways = {"ours": ours}
    if peer is not None:
        ways["sb3"] = functools.partial(peer.run, job)
    return in_turns(ways, repeats, calls=calls)


def _compared(measured: dict[str, Measured], unit: str, scale: float, *, faster: str) -> Row:
    row: Row = {f"{name}, {unit}": _scaled(figure, scale) for name, figure in measured.items()}
    if "sb3" in measured:
        ratio = measured["sb3"].median / measured["ours"].median
        row["times as fast"] = ratio if faster == "shorter" else 1 / ratio
    return row


def _scaled(measured: Measured, scale: float) -> Measured:
    return Measured(tuple(scale * value for value in measured.values))
