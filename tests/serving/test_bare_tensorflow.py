"""An exported model in a process that has TensorFlow, and none of Keras, TensorFlow Probability and tf_trpo."""

import json
import subprocess
import sys

import numpy as np

PROGRAM = """
import json, sys

# As if they were not installed: importing them raises ModuleNotFoundError.
sys.modules.update(dict.fromkeys(["keras", "tf_keras", "tensorflow_probability", "tf_trpo", "gymnasium"]))
import numpy as np
import tensorflow as tf

signatures = tf.saved_model.load(sys.argv[1]).signatures
observations = tf.constant(np.load(sys.argv[2]))
arguments = {"act": {}, "value": {}, "distribution": {}, "act_stochastic": {"seed": tf.constant([7, 0])}}
outputs = {name: signatures[name](observations=observations, **more) for name, more in arguments.items()}
print(json.dumps({name: {key: value.numpy().tolist() for key, value in found.items()}
                  for name, found in outputs.items()}))
"""


def test_tensorflow_alone_loads_and_runs_it(gaussian_agent, tmp_path, observations, expected):
    inputs = observations(5)
    np.save(tmp_path / "observations.npy", inputs)
    arguments = [gaussian_agent.export(tmp_path / "model"), str(tmp_path / "observations.npy")]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, timeout=300, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    outputs, wanted = json.loads(done.stdout), expected(gaussian_agent, inputs)
    sampled = gaussian_agent.predict(inputs, stochastic=True, seed=7)
    np.testing.assert_allclose(outputs.pop("act_stochastic")["actions"], sampled, rtol=1e-5, atol=1e-5)
    found = {name: value for named in outputs.values() for name, value in named.items()}
    assert set(found) == set(wanted)
    for name in wanted:
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-5, atol=1e-5)
