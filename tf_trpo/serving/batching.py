"""Requests that wait at the same time, answered by one call of the model."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from tf_trpo.serving.json_tensors import Inputs
from tf_trpo.serving.saved_model import Signature

Outputs = dict[str, np.ndarray]
_Requests = dict[asyncio.Future[Outputs], Inputs]
"""Requests, the oldest first: a future for the answer -> the inputs."""


class Batcher:
    """Calls endpoints in worker threads; requests that arrive during a call wait and go together in the next one.

    A request that comes alone waits for nobody, and the busier the server, the larger the calls. The rows of a request
    whose `run` is cancelled before its call has begun are not computed.

    Args:
      threads: calls at the same time.
      max_rows: largest number of rows of a call of several requests.
      together: False: each request in a call of its own.
    """

    def __init__(self, threads: int, max_rows: int, *, together: bool = True) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="model")
        # A request that waited within the pool could not be taken back.
        self._free = asyncio.Semaphore(threads)
        self._max_rows = max_rows
        self._together = together
        # Of each endpoint that has any: the requests whose calls have not begun.
        self._waiting: dict[Signature, _Requests] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, signature: Signature, inputs: Inputs) -> Outputs:
        """Compute an endpoint's outputs for one request's inputs."""
        if signature not in self._waiting:
            self._waiting[signature] = {}
            self._start(self._drain(signature))
        waiting = self._waiting[signature]
        answer: asyncio.Future[Outputs] = asyncio.get_running_loop().create_future()
        waiting[answer] = inputs
        try:
            return await answer
        finally:
            waiting.pop(answer, None)

    def close(self) -> None:
        """Wait for the calls that have begun."""
        self._threads.shutdown()

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine)
        # The event loop itself does not keep its tasks alive.
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _drain(self, signature: Signature) -> None:
        waiting, together = self._waiting[signature], self._together and signature.batched
        while waiting:
            await self._free.acquire()
            call = self._start(self._call(signature, self._next(waiting, together=together)))
            if together:
                await call
        # The key would keep a version that is out of service in memory.
        del self._waiting[signature]

    def _next(self, waiting: _Requests, *, together: bool) -> _Requests:
        """Take the requests of the next call; none if all clients have gone away."""
        group: _Requests = {}
        rows = 0
        for answer, inputs in list(waiting.items()):
            if not answer.done():
                rows += _rows(inputs)
                if group and (rows > self._max_rows or not together):
                    break
                group[answer] = inputs
            del waiting[answer]
        return group

    async def _call(self, signature: Signature, group: _Requests) -> None:
        try:
            if group:
                await self._answer(signature, group)
        finally:
            self._free.release()

    async def _answer(self, signature: Signature, group: _Requests) -> None:
        requests = list(group.values())
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._threads, _outputs, signature, requests)
        except Exception as error:
            for answer, inputs in group.items():
                if len(group) > 1 and not answer.done():
                    # Asked again alone: the error may be due to another request.
                    await self._answer(signature, {answer: inputs})
                elif not answer.done():
                    answer.set_exception(error)
            return
        for answer, outputs in zip(group, found, strict=True):
            # The client may have gone away.
            if not answer.done():
                answer.set_result(outputs)


def _outputs(signature: Signature, requests: list[Inputs]) -> list[Outputs]:
    """Call an endpoint once with the rows of all requests, and return the outputs of each request."""
    if len(requests) == 1:
        return [signature(requests[0])]
    joined = signature({name: np.concatenate([inputs[name] for inputs in requests]) for name in requests[0]})
    ends = np.cumsum([_rows(inputs) for inputs in requests])[:-1]
    parts = zip(*(np.split(output, ends) for output in joined.values()), strict=True)
    return [dict(zip(joined, part, strict=True)) for part in parts]


def _rows(inputs: Inputs) -> int:
    return len(next(iter(inputs.values())))
