"""An exported model in a process that has TensorFlow, and none of Keras, TensorFlow Probability and tf_trpo."""

import json
import subprocess
import sys
import venv

import numpy as np
import pytest

ABSENT = ["keras", "tf_keras", "tensorflow_probability", "tf_trpo", "gymnasium"]

PROGRAM = """
import importlib, json, sys

absent = json.loads(sys.argv[3])
for name in absent:
    sys.modules[name] = None  # as if it were not installed: importing it raises ModuleNotFoundError
import numpy as np
import tensorflow as tf

for name in absent:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        continue
    raise SystemExit(f"{name} can be imported")
signatures = tf.saved_model.load(sys.argv[1]).signatures
observations = tf.constant(np.load(sys.argv[2]))
outputs = {
    "act": signatures["act"](observations=observations),
    "act_stochastic": signatures["act_stochastic"](observations=observations, seed=tf.constant([7, 0])),
    "value": signatures["value"](observations=observations),
    "distribution": signatures["distribution"](observations=observations),
}
print(json.dumps({name: {key: value.numpy().tolist() for key, value in found.items()}
                  for name, found in outputs.items()}))
"""


def bare_python(folder):
    """Python of a real environment: pip installs TensorFlow, which brings Keras along, which goes again."""
    venv.create(folder, with_pip=True)
    python = str(folder / "bin" / "python")
    for arguments in (["install", "tensorflow>=2.21,<2.22"], ["uninstall", "--yes", "keras"]):
        subprocess.run([python, "-m", "pip", "--quiet", *arguments], check=True, timeout=1800)
    return python


@pytest.mark.parametrize("python", [lambda folder: sys.executable, pytest.param(bare_python, marks=pytest.mark.slow)])
def test_tensorflow_alone_loads_and_runs_it(gaussian_agent, tmp_path, observations, expected, python):
    inputs = observations(5)
    np.save(tmp_path / "observations.npy", inputs)
    arguments = [gaussian_agent.export(tmp_path / "model"), str(tmp_path / "observations.npy"), json.dumps(ABSENT)]
    command = [python(tmp_path / "bare"), "-c", PROGRAM, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    outputs, wanted = json.loads(done.stdout), expected(gaussian_agent, inputs)
    sampled = gaussian_agent.predict(inputs, stochastic=True, seed=7)
    np.testing.assert_allclose(outputs.pop("act_stochastic")["actions"], sampled, rtol=1e-5, atol=1e-5)
    found = {name: value for named in outputs.values() for name, value in named.items()}
    assert set(found) == set(wanted)
    for name in wanted:
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-5, atol=1e-5)
