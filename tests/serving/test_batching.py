"""Requests that wait at the same time are answered by one call, each with its own outputs."""

import asyncio

import numpy as np
import pytest

from tf_trpo.serving.batching import Batcher


def answers(endpoint, rows, *, leaving=(), calls=1, **kwargs):
    """The answers of all requests, sent while the first `calls` requests are being computed."""
    endpoint.factors = {"y": 2, "z": 3}

    async def ask():
        batcher = Batcher(calls, 100, **kwargs)
        asked = []
        for row in rows:
            asked.append(asyncio.create_task(batcher.run(endpoint, {"x": np.float32(row)})))
            while len(endpoint.calls) < min(len(asked), calls):
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.01)
        for number in leaving:
            asked[number].cancel()
        await asyncio.sleep(0.01)
        endpoint.let_go.set()
        found = await asyncio.gather(*asked, return_exceptions=True)
        batcher.close()
        return [
            [rows.tolist() for rows in answer.values()] if isinstance(answer, dict) else type(answer)
            for answer in found
        ]

    return asyncio.run(ask())


def test_waiting_requests_share_a_call_up_to_the_limit_and_get_their_own_outputs(endpoint):
    found = answers(endpoint, [[n, n] for n in range(121)])
    assert found == [[[2 * n, 2 * n], [3 * n, 3 * n]] for n in range(121)]
    assert [len(call) for call in endpoint.calls] == [2, 100, 100, 40]


def test_a_request_beyond_the_limit_gets_its_own_call(endpoint):
    answers(endpoint, [[0], [1], list(range(150)), [2]])
    assert [len(call) for call in endpoint.calls] == [1, 1, 150, 1]


@pytest.mark.parametrize("batched", [True, False])
def test_without_batching_each_request_gets_its_own_call_on_as_many_threads_as_there_are(endpoint, batched):
    endpoint.batched = batched
    answers(endpoint, [[n] for n in range(5)], calls=2, together=not batched, leaving=[3])
    assert sorted(endpoint.calls) == [[0], [1], [2], [4]]


def test_requests_of_a_failed_call_are_tried_one_by_one_except_cancelled_ones(endpoint):
    """A refused request does not affect the others."""
    found = answers(endpoint, [[0], [1], [-2], [3], [4]], leaving=[3])
    assert found == [[[0], [0]], [[2], [3]], RuntimeError, asyncio.CancelledError, [[8], [12]]]
    assert endpoint.calls == [[0], [1, -2, 4], [1], [-2], [4]]
    # Requests that wait meanwhile are answered too.
    assert answers(endpoint, [[5]]) == [[[10], [15]]]
