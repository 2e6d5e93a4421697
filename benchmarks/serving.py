"""`serve`: measure the latency of the REST server, with clients that send the next request after each answer."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.timing import Measured, Table, Tables
from benchmarks.workloads import Job, make_agent
from tf_trpo.serving.local_policy import LocalPolicy

WARM_UP_SECONDS = 0.5
_START_SECONDS = 120


@dataclasses.dataclass(frozen=True)
class Serve(Tables):
    """Measure requests per second and latency of the REST server with and without batching, one observation each."""

    repeats: int = 3
    """Turns of each measurement; the median is reported."""
    model: Path | None = None
    """Folder of an exported model; by default an untrained policy for HalfCheetah-v5's spaces."""
    clients: tuple[int, ...] = (1, 8, 64)
    """Numbers of simultaneous clients; each sends its next request when it has an answer."""
    seconds: int = 5
    """Seconds of each turn, after a warm-up of half a second."""

    def tables(self) -> list[Table]:
        with ExitStack() as stack:
            model = self.model or _untrained_model(Path(stack.enter_context(tempfile.TemporaryDirectory())))
            inputs = LocalPolicy(model).observations
            parts = {
                name: np.zeros([size or 1 for size in spec.shape[1:]], spec.dtype.as_numpy_dtype)
                for name, spec in inputs.items()
            }
            # An only input is given without its name.
            row: Any = {name: part.tolist() for name, part in parts.items()}
            observation = row if len(row) > 1 else next(iter(row.values()))
            servers = {
                batching: stack.enter_context(running_server(model, batching, max_waiting=2 * max(self.clients)))
                for batching in (True, False)
            }
            cases = list(itertools.product(self.clients, servers))
            found: dict[tuple[int, bool], list[Load]] = {case: [] for case in cases}
            # In turns, so that other load on the machine affects all cases equally.
            for _, (clients, batching) in itertools.product(range(self.repeats), cases):
                found[clients, batching].append(load(servers[batching], observation, clients, self.seconds))
        shapes = ", ".join(str(list(part.shape)) for part in parts.values())
        rows = []
        for (clients, batching), turns in found.items():
            rate, p50, p99 = (Measured(values) for values in zip(*turns, strict=True))
            row = {"clients": clients, "batching": "yes" if batching else "no", "requests/s": rate}
            rows.append({**row, "p50, ms": p50.times(1e3), "p99, ms": p99.times(1e3)})
        return [(f"The REST server, one observation {shapes} a request", rows)]


class Load(NamedTuple):
    """Result of one turn.

    Attributes:
      requests_per_second: requests per second of all clients together.
      p50, p99: percentiles of the seconds from a request to its complete answer.
    """

    requests_per_second: float
    p50: float
    p99: float


class ServerAddress(NamedTuple):
    """Port of a server on this machine, and the path of its model."""

    port: int
    path: str


@contextlib.contextmanager
def running_server(model: Path, batching: bool, *, max_waiting: int) -> Iterator[ServerAddress]:
    """Start a server process on a free loopback port; it ends with the context.

    Raises:
      subprocess.CalledProcessError: the server did not start.
    """
    command = [sys.executable, "-m", "tf_trpo", "serve", str(model), "--port", "0", "--max-waiting", str(max_waiting)]
    command.append("--batching" if batching else "--no-batching")
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
    # A file and not a pipe, which would fill up and block the server.
    with (
        tempfile.NamedTemporaryFile("r") as said,
        open(said.name, "w") as output,
        subprocess.Popen(command, stderr=output, env=quiet) as process,
    ):
        try:
            deadline = time.monotonic() + _START_SECONDS
            while not (found := re.search(r"at http://[\d.]+:(\d+)(/v1/models/\S+)", Path(said.name).read_text())):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise subprocess.CalledProcessError(
                        process.poll() or 1, command, stderr=Path(said.name).read_text()
                    )
                time.sleep(0.05)
            yield ServerAddress(int(found[1]), found[2])
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=_START_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def load(server: ServerAddress, observation: Any, clients: int, seconds: float) -> Load:
    """Measure a server under the load of clients that ask for one action at a time.

    Args:
      server: the server.
      observation: the row of every request, as JSON values.
      clients: number of simultaneous clients.
      seconds: duration after the warm-up.

    Raises:
      RuntimeError: the server refuses a request.
    """
    body = json.dumps({"signature_name": "act", "instances": [observation]}).encode()
    head = f"POST {server.path}:predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    waits = asyncio.run(_all_clients(server.port, head.encode() + body, clients, seconds))
    p50, p99 = np.percentile(waits, [50, 99])
    return Load(len(waits) / seconds, float(p50), float(p99))


async def _all_clients(port: int, request: bytes, clients: int, seconds: float) -> list[float]:
    begin = time.perf_counter() + WARM_UP_SECONDS
    waits = await asyncio.gather(*(_client(port, request, begin, begin + seconds) for _ in range(clients)))
    return [wait for client in waits for wait in client]


async def _client(port: int, request: bytes, begin: float, end: float) -> list[float]:
    """Send requests until `end`, and return the latencies of answers that arrived after `begin`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    waits: list[float] = []
    try:
        while True:
            asked = time.perf_counter()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: (\d+)", head)
            if not head.startswith(b"HTTP/1.1 200") or length is None:
                raise RuntimeError(f"the server answers {head.decode(errors='replace')}")
            await reader.readexactly(int(length[1]))
            answered = time.perf_counter()
            if answered > end:
                return waits
            if answered >= begin:
                waits.append(answered - asked)
    finally:
        writer.close()
        await writer.wait_closed()


def _untrained_model(folder: Path) -> Path:
    model = folder / "HalfCheetah-v5"
    make_agent(Job("update", "HalfCheetah-v5")).export(model)
    return model
