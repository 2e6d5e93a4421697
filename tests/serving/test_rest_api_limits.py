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

ROW = json.dumps({"instances": [1.5]}).encode()
PREDICT = "/v1/models/slow:predict"


class SlowEndpoint:
    """Doubles numbers, once it is let go."""

    batched = True

    def __init__(self):
        self.inputs = {"x": InputSpec((None,), np.dtype(np.float32))}
        self.let_go = threading.Event()
        self.failure = None
        self.calls = []

    def __call__(self, inputs):
        self.calls.append(inputs["x"].tolist())
        assert self.let_go.wait(30)
        if self.failure is not None:
            raise self.failure
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


async def ask(application, *chunks, path=PREDICT, last=True, gone=None):
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

    scope = {"type": "http", "method": "POST", "raw_path": path.encode()}
    await application(scope, receive, send)
    start, end = sent
    return start["status"], json.loads(end["body"]), dict(start["headers"])


def test_a_body_that_does_not_end_is_given_up(make_application):
    status, answer, headers = asyncio.run(ask(make_application(timeout=0.2), b'{"inst', last=False))
    assert (status, answer) == (408, {"error": "the request did not arrive within 0.2 s"})
    assert headers[b"connection"] == b"close"


def test_a_body_that_is_too_large_is_not_read_to_its_end(make_application):
    application = make_application(max_request_bytes=100, timeout=30)
    chunks = [b" " * 60] * 2
    status, answer, headers = asyncio.run(ask(application, *chunks, last=False))
    assert status == 413
    assert "larger than the largest of 100 bytes" in answer["error"]
    assert headers[b"connection"] == b"close"


@pytest.mark.parametrize(("chunk", "status"), [(b"{}", 404), (b"{", 408)])
def test_a_body_is_read_also_if_there_is_nothing_at_the_path(make_application, chunk, status):
    """The next request of the connection begins after it."""
    asked = ask(make_application(timeout=0.2), chunk, path="/v1/models/other:predict", last=status == 404)
    assert asyncio.run(asked)[0] == status


def test_an_answer_that_does_not_come_is_given_up_and_the_next_is_answered(make_application, endpoint):
    async def scenario():
        application = make_application(timeout=0.2)
        first = await ask(application, ROW)
        endpoint.let_go.set()
        return first, await ask(application, ROW)

    (status, answer, _), (later, predicted, _) = asyncio.run(scenario())
    assert (status, answer) == (504, {"error": "no answer within 0.2 s"})
    assert (later, predicted) == (200, {"predictions": [3.0]})


def row(number):
    return json.dumps({"instances": [number]}).encode()


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
        last = asyncio.create_task(ask(application, row(9)))
        await asyncio.sleep(0.01)
        endpoint.let_go.set()
        await first
        return await last

    status, predicted, _ = asyncio.run(scenario())
    assert (status, predicted) == (200, {"predictions": [18.0]})
    assert endpoint.calls == [[0.0], [9.0]]


async def one_that_runs_and_others_that_wait(batcher, endpoint, count):
    asked = []
    for number in range(count):
        asked.append(asyncio.create_task(batcher.run(endpoint, {"x": np.float32([number])})))
        while not endpoint.calls:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0)
    return asked


def test_a_group_that_fails_is_asked_again_one_by_one_without_those_who_left(endpoint):
    async def scenario():
        batcher = Batcher(1, 100)
        asked = await one_that_runs_and_others_that_wait(batcher, endpoint, 4)
        endpoint.failure = RuntimeError("no")
        asked[2].cancel()
        endpoint.let_go.set()
        found = await asyncio.gather(*asked, return_exceptions=True)
        batcher.close()
        return [type(answer) for answer in found]

    assert asyncio.run(scenario()) == [RuntimeError, RuntimeError, asyncio.CancelledError, RuntimeError]
    assert endpoint.calls == [[0.0], [1.0, 3.0], [1.0], [3.0]]


def test_more_requests_than_may_wait_are_sent_away_and_those_that_wait_are_answered(make_application, endpoint):
    async def scenario():
        application = make_application(max_waiting=3)
        waiting = [asyncio.create_task(ask(application, ROW)) for _ in range(3)]
        await asyncio.sleep(0.1)
        refused = await ask(application, ROW)
        endpoint.let_go.set()
        return refused, await asyncio.gather(*waiting), await ask(application, ROW)

    (status, answer, _), waited, after = asyncio.run(scenario())
    assert status == 503
    assert "3 requests are waiting already" in answer["error"]
    assert [(status, answer) for status, answer, _ in [*waited, after]] == [(200, {"predictions": [3.0]})] * 4


def test_a_large_body_is_answered_like_a_small_one(make_application, endpoint):
    endpoint.let_go.set()
    rows = np.arange(900, dtype=np.float32)
    body = json.dumps({"instances": rows.tolist()}, indent=20).encode()
    assert len(body) > 16_384
    status, answer, _ = asyncio.run(ask(make_application(), body[:1000], body[1000:]))
    assert status == 200
    np.testing.assert_array_equal(answer["predictions"], 2 * rows)


def test_a_failure_of_the_model_is_a_500_with_a_message_and_without_its_words(make_application, endpoint, caplog):
    endpoint.failure = RuntimeError("a secret")
    endpoint.let_go.set()
    status, answer, _ = asyncio.run(ask(make_application(), ROW))
    assert (status, answer) == (500, {"error": "the server failed to answer; its log says why"})
    assert "a secret" in caplog.text
