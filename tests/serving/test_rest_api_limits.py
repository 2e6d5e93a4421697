"""Limits in time and number, by the ASGI application itself with a model that takes as long as it is told."""

import asyncio
import json
import threading
import types

import numpy as np
import pytest

from tf_trpo.serving.batching import Batcher
from tf_trpo.serving.json_tensors import InputSpec
from tf_trpo.serving.rest_api import RestApi
from tf_trpo.serving.settings import ServerSettings


def row(number):
    return json.dumps({"instances": [number]}).encode()


class SlowEndpoint:
    """Doubles numbers, once it is let go, and may fail with negative ones."""

    batched = True

    def __init__(self):
        self.inputs = {"x": InputSpec((None,), np.dtype(np.float32))}
        self.let_go = threading.Event()
        self.calls = []

    def __call__(self, inputs):
        self.calls.append(inputs["x"].tolist())
        assert self.let_go.wait(30)
        if (inputs["x"] < 0).any():
            raise RuntimeError("a secret")
        return {"y": 2 * inputs["x"]}


@pytest.fixture
def endpoint():
    endpoint = SlowEndpoint()
    yield endpoint
    endpoint.let_go.set()


@pytest.fixture
def make_application(endpoint):
    def make(**settings):
        model = types.SimpleNamespace(version=1, signature=lambda name: endpoint, signature_def={})
        watcher = types.SimpleNamespace(name="slow", current=model, statuses={})
        return RestApi(watcher, ServerSettings(**{"threads": 2, **settings}))

    return make


async def ask(application, *chunks, path="/v1/models/slow:predict", last=True, gone=None):
    """(status, JSON, headers) of one request, by ASGI; without `last` the body never ends; `gone`: the client goes."""
    messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    if last:
        messages.append({"type": "http.request", "body": b"", "more_body": False})
    sent = []

    async def receive():
        if messages:
            return messages.pop(0)
        if gone is not None:
            await gone.wait()
            return {"type": "http.disconnect"}
        await asyncio.sleep(60)
        raise AssertionError("nobody should wait this long")

    async def send(message):
        sent.append(message)

    await application({"type": "http", "method": "POST", "raw_path": path.encode()}, receive, send)
    start, end = sent
    return start["status"], json.loads(end["body"]), dict(start["headers"])


@pytest.mark.parametrize(
    ("chunks", "name", "ends", "status", "words"),
    [
        ([b'{"inst'], "slow", False, 408, "the request did not arrive within 0.2 s"),
        ([b" " * 60] * 2, "slow", False, 413, "larger than the largest of 100 bytes"),
        # A body is read also if there is nothing at the path: the next request of the connection begins after it.
        ([b"{"], "other", False, 408, "the request did not arrive within 0.2 s"),
        ([b"{}"], "other", True, 404, "not found"),
    ],
)
def test_a_body_is_read_in_time_and_no_further_than_the_limit(make_application, chunks, name, ends, status, words):
    application = make_application(max_request_bytes=100, timeout=0.2)
    found, answer, headers = asyncio.run(ask(application, *chunks, path=f"/v1/models/{name}:predict", last=ends))
    assert (found, headers.get(b"connection") == b"close") == (status, not ends)
    assert words in answer["error"]


@pytest.mark.parametrize("batching", [True, False])
@pytest.mark.parametrize("leaves", ["by the time limit", "by going away"])
def test_what_was_given_up_is_not_computed(make_application, endpoint, batching, leaves):
    """One call is running, and so long that all who wait behind it give up, again and again."""

    async def scenario():
        limits = {"timeout": 0.4 if leaves == "by the time limit" else 60, "max_waiting": 6}
        application = make_application(batching=batching, threads=1, **limits)
        first = asyncio.create_task(ask(application, row(0)))
        await asyncio.sleep(0.05)
        for _ in range(2):
            gone = asyncio.Event()
            asked = [asyncio.create_task(ask(application, row(number), gone=gone)) for number in range(1, 6)]
            await asyncio.sleep(0.05)
            if leaves == "by going away":
                gone.set()
            given_up = await asyncio.gather(*asked)
            assert {status for status, *_ in given_up} == {504}
            assert f"no answer within {limits['timeout']} s" in given_up[0][1]["error"]
        last = asyncio.create_task(ask(application, row(9)))
        await asyncio.sleep(0.01)
        endpoint.let_go.set()
        await first
        return await last

    status, predicted, _ = asyncio.run(scenario())
    assert (status, predicted) == (200, {"predictions": [18.0]})
    assert endpoint.calls == [[0.0], [9.0]]


def test_a_group_that_fails_is_asked_again_one_by_one_without_those_who_left(endpoint):
    """What is refused does not spoil the others."""

    async def scenario():
        batcher = Batcher(1, 100)
        asked = []
        for number in (0, 1, -2, 3, 4):  # The first one runs, and the others wait.
            asked.append(asyncio.create_task(batcher.run(endpoint, {"x": np.float32([number])})))
            while not endpoint.calls:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0)
        asked[3].cancel()
        endpoint.let_go.set()
        found = await asyncio.gather(*asked, return_exceptions=True)
        batcher.close()
        return [answer["y"].tolist() if isinstance(answer, dict) else type(answer) for answer in found]

    assert asyncio.run(scenario()) == [[0], [2], RuntimeError, asyncio.CancelledError, [8]]
    assert endpoint.calls == [[0], [1, -2, 4], [1], [-2], [4]]


def test_more_requests_than_may_wait_are_sent_away_and_those_that_wait_are_answered(make_application, endpoint):
    async def scenario():
        application = make_application(max_waiting=3)
        waiting = [asyncio.create_task(ask(application, row(1.5))) for _ in range(3)]
        await asyncio.sleep(0.1)
        refused = await ask(application, row(1.5))
        endpoint.let_go.set()
        return refused, await asyncio.gather(*waiting), await ask(application, row(1.5))

    (status, answer, _), waited, after = asyncio.run(scenario())
    assert status == 503
    assert "3 requests are waiting already" in answer["error"]
    assert [(status, answer) for status, answer, _ in [*waited, after]] == [(200, {"predictions": [3.0]})] * 4


def test_a_failure_of_the_model_is_a_500_with_a_message_and_without_its_words(make_application, endpoint, caplog):
    endpoint.let_go.set()
    status, answer, _ = asyncio.run(ask(make_application(), row(-1)))
    assert (status, answer) == (500, {"error": "the server failed to answer; its log says why"})
    assert "a secret" in caplog.text
