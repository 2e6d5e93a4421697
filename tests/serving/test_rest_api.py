"""TensorFlow Serving's REST API on a real server; and its limits, in the ASGI application with a slow model."""

import asyncio
import json
import re
import time
import types
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tf_trpo.serving.rest_api import RestApi
from tf_trpo.serving.settings import ServerSettings

ROW = {"instances": [[1, 2, 3]]}


@pytest.fixture(scope="module")
def server(model, start_server):
    return start_server(model, "--max-batch", 50, "--max-request-bytes", 20_000)


def test_rows_and_columns_of_every_endpoint_are_those_of_the_agent(server, gaussian_agent, observations, expected):
    inputs = observations(7)
    wanted = expected(gaussian_agent, inputs)
    for signature, names in {"act": ["actions"], "value": ["values"], "distribution": ["mean", "log_std"]}.items():
        asked = {"instances": inputs.tolist()}, {"inputs": {"observations": inputs.tolist()}}
        answers = [server.post({"signature_name": signature, **body}) for body in asked]
        assert [status for status, _ in answers] == [200, 200]
        rows, columns = answers[0][1]["predictions"], answers[1][1]["outputs"]
        if len(names) == 1:
            assert columns == rows
            rows, columns = [{names[0]: row} for row in rows], {names[0]: columns}
        assert columns == {name: [row[name] for row in rows] for name in names}
        for name in names:
            np.testing.assert_allclose(columns[name], wanted[name], rtol=1e-5, atol=1e-5)
    body = {"signature_name": "act_stochastic", "inputs": {"observations": inputs.tolist(), "seed": [9, 0]}}
    sampled = gaussian_agent.predict(inputs, stochastic=True, seed=9)
    np.testing.assert_allclose(server.post(body)[1]["outputs"], sampled, rtol=1e-5, atol=1e-5)


AVAILABLE = {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}


def test_status_and_metadata_have_the_shape_of_tensorflow_serving(server):
    for path in ("", "/versions/1"):
        assert server.get(path) == (200, {"model_version_status": [AVAILABLE]})
        status, answer = server.get(path + "/metadata")
        assert status == 200
        assert answer["model_spec"] == {"name": "Policy-v1", "signature_name": "", "version": "1"}
        signatures = answer["metadata"]["signature_def"]["signature_def"]
        assert {"act", "act_stochastic", "value", "distribution", "serving_default"} <= set(signatures)
        assert signatures["act"]["method_name"] == "tensorflow/serving/predict"
        assert signatures["act_stochastic"]["inputs"]["seed"] == {
            "name": "act_stochastic_seed:0",
            "dtype": "DT_INT32",
            "tensor_shape": {"dim": [{"size": "2", "name": ""}], "unknown_rank": False},
        }


REFUSED = {
    "unknown model": ("POST", "/v1/models/other:predict", ROW, 404, r"Servable not found for request: Latest\(other\)"),
    "unknown version": ("POST", "/versions/9:predict", ROW, 404, r"not found for request: Specific\(Policy-v1, 9\)"),
    "its metadata": ("GET", "/versions/9/metadata", None, 404, "Servable not found"),
    "its status": ("GET", f"/versions/{2**63 - 1}", None, 404, "Could not find version 9223372036854775807"),
    "a version with a name": ("POST", "/versions/new:predict", ROW, 400, "Malformed request: POST"),
    "a version in other digits": ("POST", "/versions/%D9%A1:predict", ROW, 400, "Malformed request: POST"),
    "a version beyond all numbers": ("GET", "/versions/" + "9" * 5000, None, 400, "Malformed request: GET"),
    "a label": ("POST", "/labels/stable:predict", ROW, 400, "Malformed request: POST"),
    "no model": ("GET", "/v1/models", None, 400, "Malformed request: GET"),
    "status of an unknown model": ("GET", "/v1/models/a", None, 404, "any versions of model a"),
    "classify": ("POST", ":classify", ROW, 400, "Malformed request: POST"),
    "predict by GET": ("GET", ":predict", None, 400, "Malformed request: GET /v1/models/Policy-v1:predict"),
    "status by PUT": ("PUT", "", b"{}", 400, "Malformed request: PUT"),
    "status by POST": ("POST", "", b"{}", 400, "Malformed request: POST"),
    "another path": ("GET", "/metrics", None, 404, "Malformed request: GET /metrics"),
    "an empty body": ("POST", ":predict", b"", 400, "JSON Parse error"),
    "an unknown endpoint": (
        "POST",
        ":predict",
        {"signature_name": "x", **ROW},
        400,
        '"x" not found .* there are act, ',
    ),
    "large batch": ("POST", ":predict", {"instances": [[1, 2, 3]] * 51}, 400, "batch of 51 is larger than .* of 50"),
    "large body": ("POST", ":predict", b'{"x": "' + b"a" * 20_000 + b'"}', 413, "larger than the limit of 20000"),
}


@pytest.mark.parametrize(("method", "path", "body", "status", "words"), REFUSED.values(), ids=REFUSED)
def test_requests_that_cannot_be_answered_get_a_status_and_a_message(server, method, path, body, status, words):
    found, answer = server.request(method, path, body)
    assert found == status
    assert set(answer) == {"error"}
    assert re.search(words, answer["error"])
    assert len(answer["error"]) <= 1000


def test_names_in_paths_are_decoded(server):
    assert server.get("/v1/models/Policy%2Dv1") == (200, {"model_version_status": [AVAILABLE]})
    assert server.request("POST", "/v1/models/Policy%2Dv1:predict", ROW)[0] == 200


def test_one_connection_serves_requests_without_delay_even_after_errors(server):
    """Nagle's algorithm would delay an answer until the client's delayed acknowledgement, by 40 ms."""
    with server.connection() as connection:
        statuses = [server.post(body, connection=connection)[0] for body in (ROW, b"{", ROW, {"instances": []}, ROW)]
        assert statuses == [200, 400, 200, 400, 200]
        padded = json.dumps(ROW, indent=3).encode() + b" " * 17_000  # So large that another thread parses it.
        assert server.post(padded, connection=connection) == server.post(ROW, connection=connection)
        times = []
        for _ in range(100):
            start = time.perf_counter()
            assert server.post(ROW, connection=connection)[0] == 200
            times.append(time.perf_counter() - start)
    assert min(times) < 0.03


def test_many_simultaneous_clients_get_their_own_answers(server, gaussian_agent, observations):
    """Their requests share calls of the model."""
    inputs = observations(200)
    parts = np.split(inputs, np.cumsum([1, 2, 3, 4] * 19)[:-1])
    with ThreadPoolExecutor(16) as clients:
        answers = list(clients.map(lambda part: server.post({"instances": part.tolist()}), parts))
    assert {status for status, _ in answers} == {200}
    assert [len(answer["predictions"]) for _, answer in answers] == [len(part) for part in parts]
    actions = np.concatenate([answer["predictions"] for _, answer in answers])
    np.testing.assert_allclose(actions, gaussian_agent.predict(inputs), rtol=1e-5, atol=1e-5)


def row(number):
    return json.dumps({"instances": [number]}).encode()


@pytest.fixture
def make_application(endpoint):
    def make(**settings):
        model = types.SimpleNamespace(version=1, signatures={"serving_default": endpoint}, signature_def={})
        watcher = types.SimpleNamespace(name="slow", current=model, statuses={})
        return RestApi(watcher, ServerSettings(**{"threads": 2, **settings}))

    return make


async def ask(application, *chunks, path="/v1/models/slow:predict", last=True, gone=None):
    """(status, JSON, headers) of one request by ASGI; without `last` the body never ends; `gone`: it disconnects."""
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

    await application({"type": "http", "method": "POST", "path": path, "raw_path": path.encode()}, receive, send)
    start, end = sent
    return start["status"], json.loads(end["body"]), dict(start["headers"])


@pytest.mark.parametrize(
    ("chunks", "name", "ends", "status", "words"),
    [
        ([b'{"inst'], "slow", False, 408, "the request did not arrive within 0.2 s"),
        ([b" " * 60] * 2, "slow", False, 413, "larger than the limit of 100 bytes"),
        # A body is read even if the path is wrong, since the connection's next request begins after it.
        ([b"{"], "other", False, 408, "the request did not arrive within 0.2 s"),
        ([b"{}"], "other", True, 404, "not found"),
    ],
)
def test_a_body_has_a_time_limit_and_a_size_limit(make_application, chunks, name, ends, status, words):
    application = make_application(max_request_bytes=100, timeout=0.2)
    found, answer, headers = asyncio.run(ask(application, *chunks, path=f"/v1/models/{name}:predict", last=ends))
    assert (found, headers.get(b"connection") == b"close") == (status, not ends)
    assert words in answer["error"]


@pytest.mark.parametrize("batching", [True, False])
@pytest.mark.parametrize("leaves", ["by the time limit", "by going away"])
def test_cancelled_requests_are_not_computed(make_application, endpoint, batching, leaves):
    """One call runs so long that all requests that wait for it are cancelled, repeatedly."""

    async def scenario():
        limits = {"timeout": 1.5 if leaves == "by the time limit" else 60, "max_waiting": 6}
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


def test_requests_beyond_the_limit_get_503_and_waiting_ones_are_answered(make_application, endpoint):
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


def test_a_failure_of_the_model_is_a_500_whose_message_does_not_quote_it(make_application, endpoint, caplog):
    endpoint.let_go.set()
    status, answer, _ = asyncio.run(ask(make_application(), row(-1)))
    assert (status, answer) == (500, {"error": "the server failed to answer; its log says why"})
    assert "a secret" in caplog.text
