"""Requests that wait at the same time, answered by one call of the model."""

from __future__ import annotations

import asyncio
import dataclasses
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from tf_trpo.serving.json_tensors import Inputs
from tf_trpo.serving.saved_model import Signature

Outputs = dict[str, np.ndarray]
_Group = dict[asyncio.Future[Outputs], Inputs]
"""Requests, the oldest first: where the answer goes -> what was asked."""


@dataclasses.dataclass
class _Queue:
    """Requests to one endpoint whose calls have not begun.

    Attributes:
      max_rows: largest number of rows of a call of several requests; 0 if each request has a call of its own.
      max_callers: largest number of tasks that take requests from here at the same time.
    """

    max_rows: int
    max_callers: int
    callers: int = 0
    waiting: _Group = dataclasses.field(default_factory=dict)

    def next_group(self) -> _Group:
        """Take the requests that go together next; none if all clients have gone away."""
        group: _Group = {}
        rows = 0
        for answer, inputs in list(self.waiting.items()):
            if not answer.done():
                rows += _rows(inputs) if self.max_rows else 1
                if group and rows > self.max_rows:
                    break
                group[answer] = inputs
            del self.waiting[answer]
        return group


class Batcher:
    """Calls endpoints in worker threads; while one call runs, the requests that arrive wait and go together next.

    So a request that comes alone waits for nobody, and the busier the server, the larger the calls. A request that is
    given up (its `run` is cancelled) before its call has begun leaves no trace: its rows are not computed.

    Args:
      threads: calls at the same time.
      max_rows: largest number of rows of a call of several requests.
      together: False: each request in a call of its own.
    """

    def __init__(self, threads: int, max_rows: int, *, together: bool = True) -> None:
        self._count = threads
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="model")
        # Nothing waits within the pool, where it could not be taken back.
        self._free = asyncio.Semaphore(threads)
        self._max_rows = max_rows
        self._together = together
        self._queues: dict[Signature, _Queue] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, signature: Signature, inputs: Inputs) -> Outputs:
        """Compute an endpoint's outputs for one request's inputs."""
        queue = self._queues.get(signature)
        if queue is None:
            together = self._together and signature.batched
            queue = _Queue(self._max_rows, 1) if together else _Queue(0, self._count)
            self._queues[signature] = queue
        answer: asyncio.Future[Outputs] = asyncio.get_running_loop().create_future()
        queue.waiting[answer] = inputs
        if queue.callers < queue.max_callers:
            queue.callers += 1
            task = asyncio.create_task(self._drain(signature, queue))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        try:
            return await answer
        finally:
            queue.waiting.pop(answer, None)

    def close(self) -> None:
        """Wait for the calls that have begun."""
        self._threads.shutdown()

    async def _drain(self, signature: Signature, queue: _Queue) -> None:
        try:
            while queue.waiting:
                async with self._free:
                    if group := queue.next_group():
                        await self._answer(signature, group)
        finally:
            queue.callers -= 1
            if not queue.callers:
                # It would keep a version that is out of service in memory.
                del self._queues[signature]

    async def _answer(self, signature: Signature, group: _Group) -> None:
        try:
            inputs = _joined(list(group.values()))
            outputs = await asyncio.get_running_loop().run_in_executor(self._threads, signature, inputs)
        except Exception as error:
            for answer, part in group.items():
                if len(group) > 1 and not answer.done():
                    # Asked again alone: the error may be due to another request.
                    await self._answer(signature, {answer: part})
                elif not answer.done():
                    answer.set_exception(error)
            return
        for answer, found in zip(group, _apart(outputs, list(group.values())), strict=True):
            # The client may have gone away.
            if not answer.done():
                answer.set_result(found)


def _rows(inputs: Inputs) -> int:
    return len(next(iter(inputs.values())))


def _joined(parts: list[Inputs]) -> Inputs:
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _apart(outputs: Outputs, parts: list[Inputs]) -> list[Outputs]:
    if len(parts) == 1:
        return [outputs]
    ends = np.cumsum([_rows(part) for part in parts])[:-1]
    split = {name: np.split(output, ends) for name, output in outputs.items()}
    return [{name: pieces[place] for name, pieces in split.items()} for place in range(len(parts))]
