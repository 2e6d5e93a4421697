"""Thousands of malformed requests to a real server: each gets a 4xx with a message, and the server goes on."""

import http.client
import json
import socket

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

GOOD = {"instances": [[0.5, -1.0, 2.0]]}


def many(examples):
    return settings(max_examples=examples, deadline=None, derandomize=True, database=None)


@pytest.fixture(scope="module")
def server(model, start_server):
    return start_server(model, "--name", "policy", "--max-batch", 64, "--max-request-bytes", 65_536)


@pytest.fixture(scope="module")
def connection(server):
    with server.connection() as connection:
        yield connection


def answer(connection, *request):
    for _ in range(2):
        try:
            connection.request(*request)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
            connection.close()  # Closed after the answer before: asked once more, by a new connection.
    raise AssertionError("no answer")


numbers = st.integers() | st.floats() | st.integers(min_value=10**30, max_value=10**60)
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
signatures = st.sampled_from(["act", "act_stochastic", "value", "distribution", "serving_default", "", "guess"])
rows = st.lists(st.lists(numbers, min_size=2, max_size=4), max_size=4) | values
named = st.fixed_dictionaries({}, optional={"observations": rows, "seed": rows, "more": rows})
instances, inputs = rows | st.lists(named) | named, rows | named
nearly_requests = st.fixed_dictionaries(
    {}, optional={"signature_name": signatures | values, "instances": instances, "inputs": inputs}
)
NEARLY_REQUESTS = [
    {"instances": [[1e308, 1, 2]]},
    {"signature_name": "act_stochastic", "inputs": {"observations": [[1, 2, 3]], "seed": [2**31, 0]}},
]
NO_REQUESTS = [
    b'{"instances": ' + b"[" * 60_000,
    b'{"instances": ' + b'{"a":' * 10_000,
    b'{"instances": [[0, 1, ' + b'{"a":' * 400 + b"1" + b"}" * 400 + b"]]}",
    b'{"signature_name": [' + b"[" * 600 + b"]" * 600 + b'], "instances": []}',
    b"[" * 66_000,
    b'{"instances": [[' + b"1" * 50_000 + b", 1, 1]]}",
    b"\x00" * 1000,
]
segments = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="#?"), max_size=12)
known = st.sampled_from(["v1", "models", "policy", "policy:predict", "versions", "1", "2", "metadata", "%2F", ".."])
paths = st.lists(segments | known, max_size=7).map(lambda parts: "/" + "/".join(parts))
methods = st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
NO_PATHS = [
    ("GET", "/v1/models/policy/versions/" + "9" * 5000),
    ("GET", "/v1/models/%FF%00"),
    ("GET", "/v1/models/policy/"),
    ("POST", "/v1/models/policy/versions/%D9%A1:predict"),
]


def to_predict(body):
    return "POST", "/v1/models/policy:predict", body if isinstance(body, bytes) else json.dumps(body).encode()


def with_a_good_body(request):
    return *request, json.dumps(GOOD).encode()


KINDS = {
    "JSON that is nearly a request": (nearly_requests, NEARLY_REQUESTS, to_predict, 2 / 3),
    "bytes that are no request": (
        st.binary(max_size=200) | values.map(lambda value: json.dumps(value).encode()),
        NO_REQUESTS,
        to_predict,
        1,
    ),
    "paths and methods": (st.tuples(methods, paths), NO_PATHS, with_a_good_body, 2 / 3),
}


@pytest.mark.parametrize("examples", [50, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("strategy", "cases", "as_request", "least"), KINDS.values(), ids=KINDS)
def test_every_request_gets_an_answer_or_a_message(connection, strategy, cases, as_request, least, examples):
    statuses = []

    def check(case):
        method, path, body = as_request(case)
        status, content = answer(connection, method, path, body)
        statuses.append(status)
        if status == 200:
            assert least < 1
            assert "policy" in path
            assert method == "GET" or (method == "POST" and set(content) in ({"predictions"}, {"outputs"}))
        else:
            assert 400 <= status < 500
            assert set(content) == {"error"}
            assert content["error"]

    check = given(strategy)(check)
    for case in cases:
        check = example(case)(check)
    many(examples)(check)()
    assert sum(status >= 400 for status in statuses) >= least * examples


def test_bytes_that_are_no_http(server):
    """The HTTP parser of the ASGI server answers them, in its own words."""

    @many(100)
    @given(st.binary(min_size=1, max_size=300).filter(lambda data: b"\r\n\r\n" not in data))
    @example(b"GET / HTTP/9.9")
    @example(b"POST /v1/models/policy:predict HTTP/1.1\r\nContent-Length: -1")
    @example(b"POST /v1/models/policy:predict HTTP/1.1\r\nContent-Length: 99999999999999999999999999")
    @example(b"GET / HTTP/1.1\r\nX: " + b"a" * 100_000)
    def check(data):
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as raw:
            try:
                raw.sendall(data + b"\r\n\r\n")
                raw.shutdown(socket.SHUT_WR)
                said = raw.recv(65_536)
            except (ConnectionResetError, BrokenPipeError):
                said = b""
        assert not said or said.startswith(b"HTTP/1.1 4"), said

    check()


def test_after_all_that_it_still_answers_and_has_logged_no_failure(server):
    assert server.post(GOOD)[0] == 200
    assert not server.errors
