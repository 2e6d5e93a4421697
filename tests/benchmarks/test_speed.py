"""The commands measure what they say, and take turns with a peer."""

import itertools
import json
import re
import stat
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from benchmarks import serving, timing, workloads
from benchmarks.__main__ import parse
from benchmarks.peer import start_peer
from benchmarks.report import print_tables
from benchmarks.timing import Measured, in_turns, seconds

START_TO_FIRST_UPDATE = workloads.start_to_first_update

TINY = {
    "update": ["--num-steps", "64", "--hidden-sizes", "4"],
    "collect": ["--envs", "CartPole-v1", "--num-envs", "1", "2", "--rows", "64", "--backends", "sync", "envpool"],
    "train": ["--rows", "64", "--iterations", "1"],
    "scaling": ["--samples", "64", "128", "--chunk-size", "100", "--rollout", "100", "--fractions", "1", "0.5"],
    "roofline": ["--samples", "64", "--hidden-sizes", "4"],
    "serve": ["--clients", "1", "3", "--seconds", "1"],
}
ROWS = {"collect": [4], "scaling": [2, 2], "roofline": [1], "serve": [4]}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(timing, "PAUSE_SECONDS", 0)
    monkeypatch.setattr(workloads, "start_to_first_update", lambda: 1.0)


@pytest.mark.slow
def test_a_new_process_reaches_its_first_update():
    assert 1 < START_TO_FIRST_UPDATE() < 120


def benchmark(capsys, *arguments):
    parse(list(arguments)).run()
    return capsys.readouterr().out


def figures(value):
    """All numbers in it."""
    if isinstance(value, dict):
        return [number for item in value.values() for number in figures(item)]
    if isinstance(value, list):
        return [number for item in value for number in figures(item)]
    return [value] if isinstance(value, int | float) else []


SLOW = {"scaling", "serve"}


@pytest.mark.parametrize(
    "command", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in ROWS]
)
def test_a_command_measures_without_a_peer(command, capsys):
    result = json.loads(benchmark(capsys, command, *TINY[command], "--repeats", "1", "--json"))
    assert result["machine"]["cores"] >= 1
    assert [len(table["rows"]) for table in result["tables"]] == ROWS[command]
    for row in (row for table in result["tables"] for row in table["rows"]):
        measured = [value for value in row.values() if isinstance(value, dict)]
        assert measured
        assert all(number > 0 for number in figures(measured))


@pytest.fixture
def fake_python(tmp_path):
    """A "Python" that answers 2, 4, 6, ... whatever it is asked, and keeps what it was asked."""
    asked = tmp_path / "asked"
    path = tmp_path / "python"
    path.write_text(
        f"#!/bin/sh\ni=0\nwhile read -r line; do echo \"$line\" >> '{asked}'\n"
        'i=$((i + 2)); echo "{\\"figure\\": $i}"; done\n'
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path, asked


def test_a_peer_does_the_same_job_in_turns(capsys, fake_python):
    python, asked = fake_python
    arguments = ["collect", "--envs", "CartPole-v1", "--num-envs", "2", "--rows", "64", "--backends", "sync"]
    output = benchmark(capsys, *arguments, "--repeats", "2", "--against-sb3", str(python), "--json")
    (row,) = json.loads(output)["tables"][0]["rows"]
    # Three turns of three calls; the first turn and each turn's first call do not count.
    assert row["sb3, steps/s"]["values"] == [10, 12, 16, 18]
    jobs = [json.loads(line) for line in asked.read_text().splitlines()]
    assert len(jobs) == 9
    assert all(job == jobs[0] for job in jobs)
    wanted = {"work": "collect", "env": "CartPole-v1", "num_envs": 2, "num_steps": 32}
    assert {name: jobs[0][name] for name in wanted} == wanted


@pytest.mark.slow
@pytest.mark.parametrize("command", ["update", "train"])
def test_a_ratio_is_how_many_times_as_fast_ours_is(command, capsys, fake_python):
    python, _ = fake_python
    arguments = [command, *TINY[command], "--repeats", "1", "--against-sb3", str(python), "--json"]
    for row in json.loads(benchmark(capsys, *arguments))["tables"][0]["rows"]:
        if command == "update":
            assert row["sb3, ms"]["median"] >= 1000
            assert row["times as fast"] == pytest.approx(row["sb3, ms"]["median"] / row["ours, ms"]["median"])
        else:
            assert row["times as fast"] == pytest.approx(row["ours, steps/s"]["median"] / row["sb3, steps/s"]["median"])


def test_a_python_without_sb3_is_named_with_its_last_words(tmp_path):
    path = tmp_path / "python"
    path.write_text("#!/bin/sh\necho \"ModuleNotFoundError: No module named 'sb3_contrib'\" >&2\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    with start_peer(path) as peer, pytest.raises(RuntimeError, match="could not run sb3-contrib: ModuleNotFoundError"):
        peer.run(workloads.Job("update", "CartPole-v1"))


def test_a_load_counts_every_answer_and_how_long_it_took(monkeypatch):
    """Against a server that takes 20 ms: no client can get more than 50 answers a second."""
    monkeypatch.setattr(serving, "WARM_UP_SECONDS", 0.1)
    asked = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            time.sleep(0.02)
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = serving.ServerAddress(server.server_port, "/v1/models/x")
        found = serving.load(address, [1.0, 2.0], clients=3, seconds=1)
        server.shutdown()
    assert 0.02 <= found.p50 <= found.p99 < 2
    # What came in the warm-up does not count, nor the last of each client, which came too late.
    assert 3 <= found.requests_per_second <= min(150, len(asked) - 3)
    assert all(body == {"signature_name": "act", "instances": [[1.0, 2.0]]} for body in asked)


def test_a_load_of_refusals_is_no_load():
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_error(503)

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(RuntimeError, match=r"the server answers HTTP/1\.0 503"):
            serving.load(serving.ServerAddress(server.server_port, "/v1/models/x"), [1.0], 1, 1)
        server.shutdown()


def test_the_program_of_the_peer_asks_for_what_a_job_says():
    program = Path(timing.__file__).with_name("sb3_program.py")
    asked = set(re.findall(r'job\["(\w+)"\]', program.read_text()))
    assert len(asked) >= 9
    assert asked <= set(workloads.Job._fields)


def test_turns_alternate_and_warm_up():
    order = []
    counts = itertools.count()
    workloads = {name: lambda name=name: (order.append(name), float(next(counts)))[1] for name in ("a", "b")}
    measured = in_turns(workloads, 2)
    assert order == list("aaabbb" * 3)
    assert measured["a"].values == (7, 8, 13, 14)
    assert measured["b"].values == (10, 11, 16, 17)
    assert measured["a"].median == 10.5
    assert in_turns({"a": lambda: 1.0}, 3, calls=1)["a"].values == (1, 1, 1)


def test_seconds_are_seconds():
    assert 0.05 <= seconds(lambda: time.sleep(0.05)) < 1


def test_a_table_is_markdown(capsys):
    print_tables([("Title", [{"work": "step", "ms": Measured((1.0, 2.0, 3.0))}, {"work": "more", "x": 12345.6}])])
    lines = capsys.readouterr().out.splitlines()
    assert lines[-4:] == [
        "| work | ms | x |",
        "|---|---|---|",
        "| step | 2 [1.5, 2.5] |  |",
        "| more |  | 12,346 |",
    ]
