"""Commands that measure speed, alone and in turns with a peer."""

import itertools
import json
import re
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from benchmarks import serving, start, timing, workloads
from benchmarks.__main__ import parse
from benchmarks.peer import start_peer
from benchmarks.speed import _compared
from benchmarks.timing import Measured, in_turns, seconds

QUICK = {
    "collect --envs CartPole-v1 --num-envs 2 --rows 64 --backends sync envpool vector": [3],
    "roofline --samples 64 --hidden-sizes 4": [1],
}
SLOW = {
    "start --steps 64": [4],
    "update --num-steps 64 --hidden-sizes 4": [2, 6],
    "images --num-steps 64": [2],
    "train --rows 64 --iterations 1": [4],
    "memory --env CartPole-v1 --num-envs 2 --rows 64 --segment-lengths 8": [3],
    "workers --iterations 1 --counts 1 --microseconds 1000 --predict 16": [2, 2, 1, 2, 2, 1, 1],
    "update-workers --env CartPole-v1 --samples 128 256 --widths 4 --parts 2 --counts 1": [2],
    "scaling --samples 64 128 --chunk-size 100 --rollout 100 --fractions 1 0.5": [2, 2],
    "serve --clients 1 3 --seconds 1": [4],
}
COMMANDS = [*QUICK.items(), *(pytest.param(*item, marks=pytest.mark.slow) for item in SLOW.items())]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(timing, "PAUSE_SECONDS", 0)
    monkeypatch.setattr(serving, "WARM_UP_SECONDS", 0.1)


@pytest.fixture
def benchmark(capsys):
    """benchmark(command, options): its tables, from its JSON."""

    def run(command, *options):
        parse([*command.split(), *options, "--json"]).run()
        return [table["rows"] for table in json.loads(capsys.readouterr().out)["tables"]]

    return run


@pytest.mark.parametrize(("command", "rows"), COMMANDS)
def test_a_command_measures_without_a_peer(command, rows, benchmark):
    tables = benchmark(command, "--repeats", "1")
    assert [len(table) for table in tables] == rows
    for row in itertools.chain(*tables):
        measured = [value for value in row.values() if isinstance(value, dict)]
        # Predictions are computed from other measurements.
        assert measured or "slowest shard, s" in row or "sample_bytes" in row
        assert all(min(value["values"]) > 0 and value["median"] > 0 for value in measured)


@pytest.mark.slow
def test_directions_are_compared_with_the_exact_solution(capsys):
    options = "--num-steps 64 --hidden-size 4 --updates 0 1 --settings 1 0 200 0 200 16 --json"
    parse(["directions", *options.split()]).run()
    ((rows),) = [table["rows"] for table in json.loads(capsys.readouterr().out)["tables"]]
    assert [(row["updates"], row["iterations"]) for row in rows] == [(u, i) for u in (0, 1) for i in (1, 200, 200)]
    for row in rows:
        cosine, improvement = list(row.values())[-2:]
        if row["iterations"] == 1:
            assert cosine > 1e-3
            assert improvement < 1
        else:
            assert abs(cosine) < 1e-5
            assert improvement == pytest.approx(1, abs=1e-3)


def fake_python(path, program):
    """Write a fake "Python", which is a shell script."""
    path.write_text(f"#!/bin/sh\n{program}\n")
    path.chmod(0o755)
    return path


def test_a_peer_does_the_same_job_in_turns(benchmark, tmp_path):
    """The fake peer answers 2, 4, 6, ... to all requests, and records the requests."""
    loop = "i=0\nwhile read -r line; do echo \"$line\" >> '{}'; i=$((i + 2)); echo '{{\"figure\": '$i'}}'; done"
    python = fake_python(tmp_path / "python", loop.format(tmp_path / "asked"))
    command = "collect --envs CartPole-v1 --num-envs 1 2 --rows 64 --backends sync --repeats 2"
    ((_, row),) = benchmark(command, "--against-sb3", str(python))
    # Three turns of three calls; the first turn and each turn's first call do not count.
    assert row["sb3, steps/s"]["values"] == [28, 30, 34, 36]
    jobs = [json.loads(line) for line in (tmp_path / "asked").read_text().splitlines()]
    assert [job["num_envs"] for job in jobs] == [1] * 9 + [2] * 9
    assert all(job == jobs[-1] for job in jobs[9:])
    assert jobs[-1].items() >= {"work": "collect", "env": "CartPole-v1", "num_envs": 2, "num_steps": 32}.items()


def test_a_ratio_says_how_many_times_as_fast_ours_is():
    measured = {"ours": Measured((2.0,)), "sb3": Measured((6.0,))}
    milliseconds = {"ours, ms": Measured((2000.0,)), "sb3, ms": Measured((6000.0,))}
    assert _compared(measured, "ms", 1000.0) == milliseconds | {"times as fast": 3.0}
    assert _compared(measured, "steps/s", 1.0)["times as fast"] == pytest.approx(1 / 3)


def test_a_python_without_sb3_fails_with_its_last_line_of_output(tmp_path):
    path = fake_python(tmp_path / "python", "echo \"ModuleNotFoundError: No module named 'sb3_contrib'\" >&2")
    with start_peer(path) as peer, pytest.raises(RuntimeError, match="could not run sb3-contrib: ModuleNotFoundError"):
        peer.run(workloads.Job("update", "CartPole-v1"))


def test_a_load_counts_answers_and_their_latencies_and_raises_if_a_request_is_refused():
    """The server takes 20 ms, so that no client can get more than 50 answers per second."""
    asked, statuses = [], [200]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            time.sleep(0.02)
            self.send_response(statuses[-1])
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = serving.ServerAddress(server.server_port, "/v1/models/x")
        found = serving.load(address, [1.0, 2.0], clients=3, seconds=1)
        counted = len(asked) - 3
        statuses.append(503)
        with pytest.raises(RuntimeError, match=r"the server answers HTTP/1\.1 503"):
            serving.load(address, [1.0, 2.0], clients=1, seconds=1)
        server.shutdown()
    assert 0.02 <= found.p50 <= found.p99 < 2
    # Answers during the warm-up do not count, nor the last one of each client, which is too late.
    assert 3 <= found.requests_per_second <= min(150, counted)
    assert all(body == {"signature_name": "act", "instances": [[1.0, 2.0]]} for body in asked)


def test_the_program_of_the_peer_uses_the_settings_of_a_job():
    program = Path(timing.__file__).with_name("sb3_speed.py")
    asked = set(re.findall(r'job\["(\w+)"\]', program.read_text()))
    assert len(asked) >= 9
    assert asked <= set(workloads.Job._fields)


def test_turns_alternate_and_warm_up():
    order, counts = [], itertools.count()
    workloads = {name: lambda name=name: (order.append(name), float(next(counts)))[1] for name in ("a", "b")}
    measured = in_turns(workloads, 2)
    assert order == list("aaabbb" * 3)
    assert (measured["a"].values, measured["b"].values) == ((7, 8, 13, 14), (10, 11, 16, 17))
    assert (measured["a"].median, measured["a"].quartiles) == (10.5, (7.75, 13.25))
    assert in_turns({"a": lambda: 1.0}, 3, calls=1)["a"].values == (1, 1, 1)
    assert 0.05 <= seconds(lambda: time.sleep(0.05)) < 1


def test_time_and_peak_memory_of_a_process_are_measured_and_a_failure_is_named(tmp_path):
    peaks = {}
    code = "import time; kept = bytearray(b'1') * 300_000_000; time.sleep(0.5); del kept; time.sleep(0.1)"
    assert 0.6 <= start._run([sys.executable, "-c", code], tmp_path, "large", peaks) < 20
    assert 286 <= peaks["large"][0] < 400  # 300,000,000 bytes are 286 MB of 2^20
    with pytest.raises(RuntimeError, match=r"exit\(3\) ended with status 3"):
        start._run([sys.executable, "-c", "exit(3)"], tmp_path, "failing", peaks)


def test_a_first_run_finds_no_compiled_programs_and_the_next_run_does(tmp_path):
    kept = tmp_path / "tf_trpo" / "xla"
    for name, there in (("train, after another run", True), ("train", False)):
        kept.mkdir(parents=True, exist_ok=True)
        start._run(["/bin/true"], tmp_path, name, {})
        assert kept.exists() is there
