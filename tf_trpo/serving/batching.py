"""Requests that wait at the same time, answered by one call of the model."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from tf_trpo.serving.json_tensors import Inputs
from tf_trpo.serving.saved_model import Signature

Outputs = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class _Waiting:
    inputs: Inputs
    answer: asyncio.Future[Outputs]


class _Queue:
    """Requests to one endpoint, the oldest first, whose calls have not begun.

    Args:
      max_rows: of one call, at least those of one request; None where each request has a call of its own.
      callers: tasks that take from it at the same time, at most.
    """

    def __init__(self, max_rows: int | None, callers: int) -> None:
        self.max_rows = max_rows
        self.callers = callers
        self.calling = 0
        # A dictionary for its order: who goes away takes himself out.
        self.waiting: dict[_Waiting, None] = {}

    def next_call(self) -> list[_Waiting]:
        """The requests that go together next, none if all have gone away."""
        group: list[_Waiting] = []
        rows = 0
        for waiting in list(self.waiting):
            if not waiting.answer.done():
                if self.max_rows is not None:
                    rows += _rows(waiting)
                if group and (self.max_rows is None or rows > self.max_rows):
                    break
                group.append(waiting)
            del self.waiting[waiting]
        return group


class Batcher:
    """Calls endpoints in worker threads; while one call runs, the requests that arrive wait and go together next.

    So a request that comes alone waits for nobody, and the busier the server, the larger the calls. A request that is
    given up (its `run` is cancelled) before its call has begun leaves no trace: its rows are not computed.

    Args:
      threads: calls at the same time.
      max_rows: of one call, at least those of one request.
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

    @property
    def waiting(self) -> int:
        """Requests whose calls have not begun."""
        return sum(len(queue.waiting) for queue in self._queues.values())

    async def run(self, signature: Signature, inputs: Inputs) -> Outputs:
        """The endpoint's outputs for one request's inputs."""
        queue = self._queues.get(signature)
        if queue is None:
            together = self._together and signature.batched
            queue = _Queue(self._max_rows, 1) if together else _Queue(None, self._count)
            self._queues[signature] = queue
        waiting = _Waiting(inputs, asyncio.get_running_loop().create_future())
        queue.waiting[waiting] = None
        if queue.calling < queue.callers:
            queue.calling += 1
            task = asyncio.create_task(self._drain(signature, queue))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        try:
            return await waiting.answer
        finally:
            queue.waiting.pop(waiting, None)

    def close(self) -> None:
        """Wait for the calls that have begun."""
        self._threads.shutdown()

    async def _drain(self, signature: Signature, queue: _Queue) -> None:
        try:
            while queue.waiting:
                async with self._free:
                    group = queue.next_call()
                    if group:
                        await self._answer(signature, group)
        finally:
            queue.calling -= 1
            if not queue.calling:
                # It would keep a version that is out of service in memory.
                del self._queues[signature]

    async def _answer(self, signature: Signature, group: list[_Waiting]) -> None:
        try:
            inputs = _joined([waiting.inputs for waiting in group])
            outputs = await asyncio.get_running_loop().run_in_executor(self._threads, signature, inputs)
        except Exception as error:
            if len(group) > 1:
                # One request's trouble is not the others'.
                for waiting in group:
                    if not waiting.answer.done():
                        await self._answer(signature, [waiting])
            elif not group[0].answer.done():
                group[0].answer.set_exception(error)
            return
        for waiting, part in zip(group, _parts(outputs, group), strict=True):
            # Who asked may have gone away.
            if not waiting.answer.done():
                waiting.answer.set_result(part)


def _rows(waiting: _Waiting) -> int:
    return len(next(iter(waiting.inputs.values())))


def _joined(parts: list[Inputs]) -> Mapping[str, np.ndarray]:
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _parts(outputs: Outputs, group: list[_Waiting]) -> list[Outputs]:
    if len(group) == 1:
        return [outputs]
    ends = np.cumsum([_rows(waiting) for waiting in group])[:-1]
    split = {name: np.split(output, ends) for name, output in outputs.items()}
    return [{name: parts[place] for name, parts in split.items()} for place in range(len(group))]
