"""Clients that ask a server, each as soon as it has its answer, and how long they wait."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

WARM_UP_SECONDS = 0.5
_START_SECONDS = 120


class Load(NamedTuple):
    """What one turn found.

    Attributes:
      requests_per_second: of all clients.
      p50, p99: percentiles of the seconds from asking to having the whole answer.
    """

    requests_per_second: float
    p50: float
    p99: float


class ServerAddress(NamedTuple):
    """A server of this machine, and the path of its model."""

    port: int
    path: str


@contextlib.contextmanager
def running_server(model: Path, *, batching: bool, max_waiting: int) -> Iterator[ServerAddress]:
    """A server process of its own, at a free port of the loopback.

    Raises:
      subprocess.CalledProcessError: it did not start.
    """
    command = [sys.executable, "-m", "tf_trpo", "serve", str(model), "--port", "0", "--max-waiting", str(max_waiting)]
    command.append("--batching" if batching else "--no-batching")
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=quiet) as process:
        assert process.stderr is not None
        try:
            said = []
            for line in process.stderr:
                said.append(line)
                found = re.search(r"at http://[\d.]+:(\d+)(/v1/models/\S+)", line)
                if found:
                    yield ServerAddress(int(found[1]), found[2])
                    return
            raise subprocess.CalledProcessError(process.wait(), command, stderr="".join(said))
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=_START_SECONDS)


def load(server: ServerAddress, observation: list[float], clients: int, seconds: float) -> Load:
    """Ask for one action at a time, by so many clients at once, for so many seconds after a warm-up.

    Raises:
      RuntimeError: an answer is not one.
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
    """The waits for answers that came between `begin` and `end`."""
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
