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


def check(printed, agent, inputs, expected):
    outputs = json.loads(printed)
    wanted = expected(agent, inputs)
    np.testing.assert_allclose(outputs["act"]["actions"], wanted["actions"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(outputs["value"]["values"], wanted["values"], rtol=1e-5, atol=1e-5)
    sampled = agent.predict(inputs, stochastic=True, seed=7)
    np.testing.assert_allclose(outputs["act_stochastic"]["actions"], sampled, rtol=1e-5, atol=1e-5)
    assert set(outputs["distribution"]) == set(wanted) - {"actions", "values"}
    for name, found in outputs["distribution"].items():
        np.testing.assert_allclose(found, wanted[name], rtol=1e-5, atol=1e-5)


def test_tensorflow_alone_loads_and_runs_it(gaussian_agent, tmp_path, observations, expected):
    np.save(tmp_path / "observations.npy", observations(5))
    folder = gaussian_agent.export(tmp_path / "model")
    command = [sys.executable, "-c", PROGRAM, folder, str(tmp_path / "observations.npy"), json.dumps(ABSENT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    check(done.stdout, gaussian_agent, observations(5), expected)


@pytest.mark.slow
def test_an_environment_with_tensorflow_alone_loads_and_runs_it(gaussian_agent, tmp_path, observations, expected):
    """A real one: pip installs TensorFlow, which brings Keras along, which is then taken out again."""
    venv.create(tmp_path / "bare", with_pip=True)
    python = str(tmp_path / "bare" / "bin" / "python")
    for arguments in (["install", "tensorflow>=2.21,<2.22"], ["uninstall", "--yes", "keras"]):
        subprocess.run([python, "-m", "pip", "--quiet", *arguments], check=True, timeout=1800)
    np.save(tmp_path / "observations.npy", observations(5))
    folder = gaussian_agent.export(tmp_path / "model")
    command = [python, "-c", PROGRAM, folder, str(tmp_path / "observations.npy"), json.dumps(ABSENT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    check(done.stdout, gaussian_agent, observations(5), expected)
