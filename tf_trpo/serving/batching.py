"""Requests that wait at the same time, answered by one call of the model."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Executor
from typing import NamedTuple

import numpy as np

from tf_trpo.serving.json_tensors import Inputs
from tf_trpo.serving.saved_model import Signature


class _Waiting(NamedTuple):
    inputs: Mapping[str, np.ndarray]
    rows: int
    answer: asyncio.Future[dict[str, np.ndarray]]


class Batcher:
    """Calls endpoints in worker threads; while one call runs, the requests that arrive wait and go together next.

    So a request that comes alone waits for nobody, and the busier the server, the larger the calls.

    Args:
      threads: where the calls run.
      max_rows: of one call, at least those of one request.
      together: False: each request in a call of its own.
    """

    def __init__(self, threads: Executor, max_rows: int, *, together: bool = True) -> None:
        self._threads = threads
        self._max_rows = max_rows
        self._together = together
        self._waiting: dict[Signature, deque[_Waiting]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, signature: Signature, inputs: Inputs) -> dict[str, np.ndarray]:
        """The endpoint's outputs for one request's inputs."""
        if not (self._together and signature.batched):
            return await self._call(signature, inputs)
        answer = asyncio.get_running_loop().create_future()
        waiting = _Waiting(inputs, len(next(iter(inputs.values()))), answer)
        if signature in self._waiting:
            self._waiting[signature].append(waiting)
        else:
            self._waiting[signature] = deque([waiting])
            task = asyncio.create_task(self._drain(signature))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await answer

    async def _drain(self, signature: Signature) -> None:
        queue = self._waiting[signature]
        try:
            while queue:
                await self._answer(signature, self._next_call(queue))
        finally:
            del self._waiting[signature]

    def _next_call(self, queue: deque[_Waiting]) -> list[_Waiting]:
        group, rows = [queue.popleft()], 0
        rows = group[0].rows
        while queue and rows + queue[0].rows <= self._max_rows:
            group.append(queue.popleft())
            rows += group[-1].rows
        return group

    async def _answer(self, signature: Signature, group: list[_Waiting]) -> None:
        try:
            outputs = await self._call(signature, _joined([waiting.inputs for waiting in group]))
        except Exception as error:
            if len(group) > 1:
                # One request's trouble is not the others'.
                for waiting in group:
                    await self._answer(signature, [waiting])
            elif not group[0].answer.done():
                group[0].answer.set_exception(error)
            return
        start = 0
        for waiting in group:
            part = {name: output[start : start + waiting.rows] for name, output in outputs.items()}
            start += waiting.rows
            # Who asked may have gone away.
            if not waiting.answer.done():
                waiting.answer.set_result(part)

    async def _call(self, signature: Signature, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return await asyncio.get_running_loop().run_in_executor(self._threads, signature, inputs)


def _joined(parts: list[Mapping[str, np.ndarray]]) -> Mapping[str, np.ndarray]:
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
