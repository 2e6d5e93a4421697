"""A real server process, called over the loopback as TensorFlow Serving would be."""

import json
import re
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def server(model, start_server):
    return start_server(model, "--max-batch", 50, "--max-request-bytes", 20_000)


def test_rows_and_columns_of_every_endpoint_are_those_of_the_agent(server, gaussian_agent, observations, expected):
    inputs = observations(7)
    wanted = expected(gaussian_agent, inputs)
    for signature, names in {"act": ["actions"], "value": ["values"], "distribution": ["mean", "log_std"]}.items():
        body = {"signature_name": signature}
        (first, rows), (second, columns) = (
            server.post({**body, **asked})
            for asked in ({"instances": inputs.tolist()}, {"inputs": {"observations": inputs.tolist()}})
        )
        assert (first, second) == (200, 200)
        found = {name: [row[name] for row in rows["predictions"]] for name in names[: len(names) // 2 * 2]}
        assert columns == {"outputs": found or rows["predictions"]}
        for name in names:
            np.testing.assert_allclose((found or {name: rows["predictions"]})[name], wanted[name], rtol=1e-5, atol=1e-5)
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


ROW = {"instances": [[1, 2, 3]]}
REFUSED = {
    "unknown model": ("POST", "/v1/models/other:predict", ROW, 404, r"Servable not found for request: Latest\(other\)"),
    "unknown version": ("POST", "/versions/9:predict", ROW, 404, r"not found for request: Specific\(Policy-v1, 9\)"),
    "a version with a name": ("POST", "/versions/new:predict", ROW, 400, "Malformed request: POST"),
    "a version beyond int64 by one": ("GET", f"/versions/{2**63}", None, 400, "Failed to convert version: 9223372036"),
    "the largest version": ("GET", f"/versions/{2**63 - 1}", None, 404, "Could not find version 9223372036854775807"),
    "a label": ("POST", "/labels/stable:predict", ROW, 400, "Unrecognized servable version label: stable"),
    "no model": ("GET", "/v1/models", None, 400, "Missing model name in request."),
    "a slash within a name": ("GET", "/v1/models/a%2Fmetadata", None, 404, "any versions of model a/metadata"),
    "classify": ("POST", ":classify", ROW, 400, "the model has no endpoint for this method"),
    "predict by GET": ("GET", ":predict", None, 400, "Malformed request: GET /v1/models/Policy-v1:predict"),
    "a method in capitals": ("POST", ":PREDICT", ROW, 400, "Malformed request: POST /v1/models/Policy-v1:PREDICT"),
    "status by PUT": ("PUT", "", b"{}", 400, "Malformed request: PUT"),
    "another path": ("GET", "/metrics", None, 404, "there is nothing at /metrics"),
    "an empty body": ("POST", ":predict", b"", 400, "The document is empty"),
    "large batch": ("POST", ":predict", {"instances": [[1, 2, 3]] * 51}, 400, "batch of 51 is larger than .* of 50"),
    "large body": ("POST", ":predict", b'{"x": "' + b"a" * 20_000 + b'"}', 413, "larger than the largest of 20000"),
}


@pytest.mark.parametrize(("method", "path", "body", "status", "words"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_answered_gets_a_status_and_a_message(server, method, path, body, status, words):
    found, answer = server.request(method, path, body)
    assert found == status
    assert set(answer) == {"error"}
    assert re.search(words, answer["error"])


def test_paths_are_matched_in_any_case_and_names_decoded_as_by_tensorflow_serving(server):
    for path in ("/V1/Models/Policy-v1", "/v1/models/Policy%2Dv1", "/v1/models/Policy-v1/VERSIONS/1"):
        assert server.get(path) == (200, {"model_version_status": [AVAILABLE]})
        assert server.request("POST", path + ":predict", ROW)[0] == 200
        assert "model_spec" in server.get(path + "/metadata")[1]
    # Its own peculiarity: in capitals this is the status.
    assert server.get("/METADATA") == (200, {"model_version_status": [AVAILABLE]})
    assert server.get("/v1/models/policy-v1")[0] == 404


def test_one_connection_serves_requests_at_once_also_after_errors(server):
    """Nagle's algorithm would hold an answer back until the client's delayed acknowledgement, for 40 ms."""
    with server.connection() as connection:
        statuses = [server.post(body, connection=connection)[0] for body in (ROW, b"{", ROW, {"instances": []}, ROW)]
        assert statuses == [200, 400, 200, 400, 200]
        padded = json.dumps(ROW, indent=3).encode() + b" " * 17_000  # So large that another thread reads it.
        assert server.post(padded, connection=connection) == server.post(ROW, connection=connection)
        times = []
        for _ in range(100):
            start = time.perf_counter()
            assert server.post(ROW, connection=connection)[0] == 200
            times.append(time.perf_counter() - start)
    assert min(times) < 0.03


def test_many_clients_at_once_each_get_their_own_answer(server, gaussian_agent, observations):
    """Their requests are put together, and apart again."""
    inputs = observations(200)
    parts = np.split(inputs, np.cumsum([1, 2, 3, 4] * 19)[:-1])
    with ThreadPoolExecutor(16) as clients:
        answers = list(clients.map(lambda part: server.post({"instances": part.tolist()}), parts))
    assert {status for status, _ in answers} == {200}
    assert [len(answer["predictions"]) for _, answer in answers] == [len(part) for part in parts]
    actions = np.concatenate([answer["predictions"] for _, answer in answers])
    np.testing.assert_allclose(actions, gaussian_agent.predict(inputs), rtol=1e-5, atol=1e-5)


def test_it_listens_at_one_address_only(server):
    """Linux answers at all of 127.0.0.0/8: a server that listened at every address would answer here."""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", server.port), timeout=5).close()


def test_it_waits_for_no_library_but_tensorflow(model):
    """Keras is there: TensorFlow imports it itself, where it is installed."""
    program = (
        "import sys, pathlib, tf_trpo.serving.server\n"
        "from tf_trpo.serving.model_watcher import ModelWatcher\n"
        f"watcher = ModelWatcher(pathlib.Path({str(model)!r})); watcher.look()\n"
        "assert watcher.current is not None, watcher.statuses\n"
        "print([name for name in ('tf_keras', 'tensorflow_probability', 'gymnasium') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.stdout == "[]\n", done.stderr
