"""Thousands of malformed requests to a real server: each gets a 4xx with a message, and the server goes on."""

import http.client
import json
import socket

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

GOOD = {"instances": [[0.5, -1.0, 2.0]]}
LENGTHS = [pytest.param(50, id="some"), pytest.param(1000, id="thousand", marks=pytest.mark.slow)]


def many(examples):
    return settings(max_examples=examples, deadline=None, derandomize=True, database=None)


@pytest.fixture(scope="module")
def server(model, start_server):
    return start_server(model, "--name", "policy", "--max-batch", 64, "--max-request-bytes", 65_536)


@pytest.fixture(scope="module")
def connection(server):
    with server.connection() as connection:
        yield connection


def answer(server, connection, path, body, method="POST"):
    for _ in range(2):
        try:
            connection.request(method, path, body)
            response = connection.getresponse()
            return response.status, response.read()
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
            connection.close()  # Closed after the answer before: asked once more, by a new connection.
    raise AssertionError("no answer")


def check_refused(status, content):
    assert 400 <= status < 500, (status, content)
    message = json.loads(content)
    assert set(message) == {"error"}
    assert message["error"]
    return 1


numbers = st.integers() | st.floats() | st.integers(min_value=10**30, max_value=10**60)
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
signatures = (
    st.sampled_from(["act", "act_stochastic", "value", "distribution", "serving_default", "", "guess"]) | values
)
rows = st.lists(st.lists(numbers, min_size=2, max_size=4), max_size=4) | values
named = st.fixed_dictionaries({}, optional={"observations": rows, "seed": rows, "more": rows})
bodies = st.fixed_dictionaries(
    {}, optional={"signature_name": signatures, "instances": rows | st.lists(named) | named, "inputs": rows | named}
)


def is_answer(content):
    found = json.loads(content)
    return isinstance(found, dict) and set(found) in ({"predictions"}, {"outputs"})


@pytest.mark.parametrize("examples", LENGTHS)
def test_json_that_is_nearly_a_request(server, connection, examples):
    refused = []

    @many(examples)
    @given(bodies)
    @example({"instances": [[1e308, 1, 2]]})
    @example({"signature_name": "act_stochastic", "inputs": {"observations": [[1, 2, 3]], "seed": [2**31, 0]}})
    def check(body):
        status, content = answer(server, connection, server.path + ":predict", json.dumps(body).encode())
        if status == 200:
            assert is_answer(content)
        else:
            refused.append(check_refused(status, content))

    check()
    assert len(refused) >= 2 * examples / 3


@pytest.mark.parametrize("examples", LENGTHS)
def test_bytes_that_are_no_request(server, connection, examples):
    refused = []

    @many(examples)
    @given(st.binary(max_size=200) | values.map(lambda value: json.dumps(value).encode()))
    @example(b'{"instances": ' + b"[" * 60_000)
    @example(b'{"instances": ' + b'{"a":' * 10_000)
    @example(b'{"instances": [[0, 1, ' + b'{"a":' * 400 + b"1" + b"}" * 400 + b"]]}")
    @example(b'{"signature_name": [' + b"[" * 600 + b"]" * 600 + b'], "instances": []}')
    @example(b"[" * 66_000)
    @example(b'{"instances": [[' + b"1" * 50_000 + b", 1, 1]]}")
    @example(b"\x00" * 1000)
    def check(body):
        refused.append(check_refused(*answer(server, connection, server.path + ":predict", body)))

    check()
    assert len(refused) >= examples


segment = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="#?"), max_size=12)
paths = st.lists(
    segment
    | st.sampled_from(["v1", "models", "policy", "policy:predict", "versions", "1", "2", "metadata", "%2F", ".."]),
    max_size=7,
).map(lambda parts: "/" + "/".join(parts))


@pytest.mark.parametrize("examples", LENGTHS)
def test_paths_and_methods_that_do_not_exist(server, connection, examples):
    refused = []

    @many(examples)
    @given(st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"]), paths)
    @example("GET", "/v1/models/policy/versions/" + "9" * 5000)
    @example("GET", "/v1/models/%FF%00")
    @example("GET", "/v1/models/policy/")
    @example("POST", "/v1/models/policy/versions/%D9%A1:predict")
    def check(method, path):
        status, content = answer(server, connection, path, json.dumps(GOOD).encode(), method)
        if status == 200:
            assert method in ("GET", "POST")
            assert "policy" in path
        else:
            refused.append(check_refused(status, content))

    check()
    assert len(refused) >= 2 * examples / 3


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
    assert server.process.poll() is None
    assert not [line for line in server.said if "Traceback" in line or "Error" in line]
