"""Large batches cost no more memory than a chunk of them, beyond their own size."""

import subprocess
import sys

import pytest

MEASURE = """
import re, sys
import tensorflow as tf
from tf_trpo.distributions import Gaussian
from tf_trpo.estimation import Batch
from tf_trpo.models import Encoder, Policy, mlp
from tf_trpo.optimizers import NaturalDirection, TrustRegion

def peak_megabytes():
    # Not ru_maxrss, which begins with the peak of the process that started this one.
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024

policy = Policy(Encoder((8,), 1, network=mlp((8,), (64, 64), seed=0), seed=0), Gaussian([-1.0], [1.0]))
optimizer = TrustRegion(direction=NaturalDirection(cg_iterations=3))
settings = {"state": optimizer.make_state(policy), "progress": 0.0, "gamma": 0.99, "chunk_size": int(sys.argv[1])}
step = tf.function(lambda batch: optimizer.step(policy, batch, **settings), jit_compile=True)
peaks = []
for samples in (20_000, 200_000):
    noise = [tf.random.stateless_normal([samples, size], [0, size]) for size in (8, 1)]
    step(Batch(noise[0], noise[1], noise[1][:, 0], tf.fill([samples], 1 / samples)))
    peaks.append(peak_megabytes())
print(peaks[1] - peaks[0])
"""


def growth(chunk_size):
    command = [sys.executable, "-c", MEASURE, str(chunk_size)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_batch_beyond_the_batch():
    # 200,000 samples of 11 numbers are 9 MB; the activations of one hidden layer on them, 51 MB.
    assert growth(20_000) < 150
    assert growth(200_000) > 250
