"""SavedModels in TensorFlow Serving's layout, by Keras' ExportArchive."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import keras
import tensorflow as tf

from tf_trpo.models import Policy, RunningReturnScale, ValueFunction


def export_policy(
    policy: Policy, value_function: ValueFunction, return_scale: RunningReturnScale, path: str | os.PathLike[str]
) -> str:
    """Write PATH/VERSION, a SavedModel with everything inside, normalisation included.

    Its endpoints take a batch of any size, raw observations float32 [N, ...]:

        act             observations -> actions, the mode of the distribution; also the default
        act_stochastic  observations, seed int32 [2] -> actions, sampled; same seed, same actions
        value           observations -> values [N], discounted returns in the environment's own units

    Actions are as the environment takes them: clipped to its bounds, or numbered from its first one.

    Args:
      policy: the policy.
      value_function: the value function, of scaled rewards.
      return_scale: their scale, which the endpoint takes back.
      path: folder of the model, NAME in TensorFlow Serving's NAME/VERSION/; made when missing. The
        version is the next number after those there.

    Returns:
      The folder that was written.
    """
    root = Path(path)
    root.mkdir(parents=True, exist_ok=True)
    versions = [int(entry.name) for entry in root.iterdir() if entry.name.isdecimal()]
    target = root / str(max(versions, default=0) + 1)
    archive = _archive(policy, value_function, return_scale)
    # A server must never see half a version: the folder gets its number when it is whole.
    with tempfile.TemporaryDirectory(dir=root, prefix=".writing-") as folder:
        written = Path(folder) / "model"
        archive.write_out(str(written), verbose=False)
        written.rename(target)
    return str(target)


def _archive(
    policy: Policy, value_function: ValueFunction, return_scale: RunningReturnScale
) -> keras.export.ExportArchive:
    def act(observations: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"actions": policy.to_environment(policy.act(observations))}

    def act_stochastic(observations: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        noise = policy.noise([tf.shape(observations)[0]], seed)
        return {"actions": policy.to_environment(policy.act(observations, noise))}

    def value(observations: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"values": value_function(observations) / return_scale(tf.ones([]))}

    observations = tf.TensorSpec((None, *policy.observation_shape), tf.float32, name="observations")
    seed = tf.TensorSpec((2,), tf.int32, name="seed")
    archive = keras.export.ExportArchive()
    archive.track(policy)
    archive.track(value_function)
    archive.track(return_scale)
    archive.add_endpoint("act", act, input_signature=[observations])
    archive.add_endpoint("act_stochastic", act_stochastic, input_signature=[observations, seed])
    archive.add_endpoint("value", value, input_signature=[observations])
    return archive
