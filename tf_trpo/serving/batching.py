"""Batch requests: answer all that are waiting by one call of the model."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from tf_trpo.serving.saved_model import Arrays, Signature

_Requests = dict[asyncio.Future[Arrays], Arrays]
"""Requests whose call has not begun, oldest first: future of the answer -> inputs."""


class Batcher:
    """Calls endpoints in worker threads; requests that arrive during a call are answered together by the next one.

    A single request never waits for others, and batches grow with the load. If `run` is cancelled before its call has
    begun, its rows are not computed.

    Args:
      threads: maximum number of simultaneous calls.
      max_rows: maximum number of rows of a call that answers several requests.
      together: whether one call may answer several requests.
    """

    def __init__(self, threads: int, max_rows: int, *, together: bool = True) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="model")
        self._max_rows = max_rows
        self._together = together
        # For each endpoint with requests: the requests, and the task that answers them.
        self._waiting: dict[Signature, tuple[_Requests, asyncio.Task[None]]] = {}

    async def run(self, signature: Signature, inputs: Arrays) -> Arrays:
        """Compute an endpoint's outputs for the inputs of one request."""
        if not (self._together and signature.batched):
            return await asyncio.get_running_loop().run_in_executor(self._threads, signature, inputs)
        if signature not in self._waiting:
            waiting: _Requests = {}
            self._waiting[signature] = waiting, asyncio.create_task(self._answer(signature, waiting))
        waiting, _ = self._waiting[signature]
        answer: asyncio.Future[Arrays] = asyncio.get_running_loop().create_future()
        waiting[answer] = inputs
        try:
            return await answer
        finally:
            waiting.pop(answer, None)

    def close(self) -> None:
        """Wait for the calls that have begun."""
        self._threads.shutdown()

    async def _answer(self, signature: Signature, waiting: _Requests) -> None:
        loop = asyncio.get_running_loop()
        try:
            while waiting:
                found = await loop.run_in_executor(self._threads, self._call, signature, waiting)
                for answer, outputs in found.items():
                    # The client may have disconnected.
                    if answer.done():
                        continue
                    if isinstance(outputs, Exception):
                        answer.set_exception(outputs)
                    else:
                        answer.set_result(outputs)
        finally:
            # Otherwise the key would keep a version that is no longer served in memory.
            del self._waiting[signature]

    def _call(self, signature: Signature, waiting: _Requests) -> dict[asyncio.Future[Arrays], Arrays | Exception]:
        """In a worker thread, remove the next batch of requests from `waiting`, and compute their outputs."""
        group: _Requests = {}
        rows = 0
        # Meanwhile the event loop adds requests, and removes those whose clients disconnect.
        for answer in list(waiting):
            inputs = waiting.get(answer)
            if inputs is None:
                continue
            rows += len(next(iter(inputs.values())))
            if group and rows > self._max_rows:
                break
            if waiting.pop(answer, None) is not None:
                group[answer] = inputs
        return dict(zip(group, _outputs(signature, list(group.values())), strict=True)) if group else {}


def _outputs(signature: Signature, requests: list[Arrays]) -> list[Arrays | Exception]:
    """Call an endpoint once with the rows of all requests, and return the outputs of each request."""
    try:
        joined = signature({name: np.concatenate([inputs[name] for inputs in requests]) for name in requests[0]})
        ends = np.cumsum([len(next(iter(inputs.values()))) for inputs in requests])[:-1]
        parts = zip(*(np.split(output, ends) for output in joined.values()), strict=True)
        return [dict(zip(joined, part, strict=True)) for part in parts]
    except Exception as error:
        # Each request is tried again by itself, since another request may have caused the error.
        return [error] if len(requests) == 1 else [_outputs(signature, [inputs])[0] for inputs in requests]
