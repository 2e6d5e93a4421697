"""Signals to a real server process: requests in flight are answered, and the exit status is 0."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import tensorflow as tf

ROOT = Path(__file__).parents[2]
ROW = {"instances": [[1, 2, 3]]}


SIGNAL_AT_A_MOMENT = """
import logging, os, signal, sys, uvicorn
from tf_trpo.cli import main

moment, run = sys.argv.pop(1), uvicorn.Server.run

class Announcement(logging.Handler):
    def emit(self, record):
        if moment == "announced" and " at http" in record.getMessage():
            os.kill(os.getpid(), signal.SIGTERM)

def signal_and_run(self, *args, **kwargs):
    if moment == "before it runs":
        os.kill(os.getpid(), signal.SIGTERM)
    run(self, *args, **kwargs)

uvicorn.Server.run = signal_and_run
logging.getLogger("tf_trpo").addHandler(Announcement())
main(["serve", *sys.argv[1:]])
"""


def test_a_signal_at_the_worst_moments_is_a_graceful_stop(model):
    """While the announcement is made, and before uvicorn has handlers of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    processes = [
        subprocess.Popen([sys.executable, "-c", SIGNAL_AT_A_MOMENT, moment, str(model), "--port", "0"], env=environment)
        for moment in ("announced", "before it runs")
    ]
    try:
        assert [process.wait(60) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
            process.wait()


class Slow(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec((None, 3), tf.float32, name="observations")])
    def act(self, observations):
        # By the clock, whatever the machine. Zeros are the server's own, before the version is in service.
        end = tf.timestamp() + tf.where(observations[0, 0] > 0, tf.constant(3.0, tf.float64), 0)
        looks = tf.while_loop(lambda i: tf.timestamp() < end, lambda i: (i + 1,), (0,))
        # The result takes part in the answer, or the loop would be left out.
        return {"actions": observations[:, 0] + tf.cast(tf.minimum(looks[0], 0), tf.float32)}


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_signal_lets_the_requests_in_flight_be_answered(tmp_path, number, start_server):
    slow = Slow()
    tf.saved_model.save(slow, str(tmp_path / "1"), signatures={"serving_default": slow.act})
    server = start_server(tmp_path, "--trust", "--name", "slow")
    with ThreadPoolExecutor(2) as clients:
        asked = [clients.submit(server.post, ROW) for _ in range(2)]
        time.sleep(1)
        assert not any(answer.done() for answer in asked)
        server.process.send_signal(number)
        assert [answer.result() for answer in asked] == [(200, {"predictions": [1.0]})] * 2
    assert server.process.wait(60) == 0
    with pytest.raises(ConnectionRefusedError):
        server.get()
