"""Thousands of malformed requests to a real server: each gets a 4xx with a message, and the server keeps working."""

import http.client
import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

GOOD = {"instances": [[0.5, -1.0, 2.0]]}


@pytest.fixture(scope="module")
def server(model, start_server):
    return start_server(model, "--name", "policy", "--max-batch", 64, "--max-request-bytes", 65_536)


@pytest.fixture(scope="module")
def connection(server):
    with server.connection() as connection:
        yield connection


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
NO_PATHS = [("GET", "/v1/models/%FF%00"), ("GET", "/v1/models/policy/"), ("GET", "/v1/models/policy%0A")]


def to_predict(body):
    return "POST", "/v1/models/policy:predict", body if isinstance(body, bytes) else json.dumps(body).encode()


KINDS = {
    "JSON that is nearly a request": (nearly_requests, NEARLY_REQUESTS, to_predict, 2 / 3),
    "bytes that are no request": (
        st.binary(max_size=200) | values.map(lambda value: json.dumps(value).encode()),
        NO_REQUESTS,
        to_predict,
        1,
    ),
    "paths and methods": (
        st.tuples(methods, paths),
        NO_PATHS,
        lambda request: (*request, json.dumps(GOOD).encode()),
        2 / 3,
    ),
}


@pytest.mark.parametrize("examples", [30, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("strategy", "cases", "as_request", "least"), KINDS.values(), ids=KINDS)
def test_every_request_gets_an_answer_or_a_message(server, connection, strategy, cases, as_request, least, examples):
    statuses = []

    def check(case):
        method, path, body = as_request(case)
        try:
            status, content = server.request(method, path, body, connection)
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
            connection.close()  # The connection was closed after the previous answer: try again with a new one.
            status, content = server.request(method, path, body, connection)
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
    settings(max_examples=examples)(check)()
    assert sum(status >= 400 for status in statuses) >= least * examples
    assert server.post(GOOD)[0] == 200
    assert not server.errors
