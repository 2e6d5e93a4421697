"""Export a policy in TensorFlow Serving's layout."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tf_trpo.models import Policy, RunningReturnScale, ValueFunction
from tf_trpo.ranges import described, require
from tf_trpo.serving.endpoints import endpoints, initial_states, warn_of_coarse_features
from tf_trpo.serving.formats import MODEL_FILES, write_model, write_warmup_requests
from tf_trpo.serving.metadata import ExportFormat, ModelMetadata, write_metadata
from tf_trpo.serving.model_versions import add_version, version_folders
from tf_trpo.spaces import to_json
from tf_trpo.versions import installed_versions

_PACKAGES = ("tf_trpo", "tensorflow", "keras", "tensorflow-probability", "gymnasium", "numpy")


def export_policy(
    policy: Policy,
    value_function: ValueFunction,
    return_scale: RunningReturnScale,
    path: str | os.PathLike[str],
    *,
    format: ExportFormat = "saved_model",
    warmup: bool = False,
    environment: str | None = None,
    environment_arguments: dict[str, Any] | None = None,
    training_steps: int | None = None,
    evaluation: dict[str, float] | None = None,
) -> str:
    """Write a self-contained model, normalisation included, and its metadata to PATH/VERSION.

    The endpoints take a batch of any size of raw observations [N, ...] with the environment's dtypes (in LiteRT float32
    instead of float64). Each part of a Dict or Tuple is an input of its own, observations_NAME:

        act             observations -> actions, the mode of the distribution; also the default
        act_stochastic  observations, seed int32 [2] -> actions, sampled; same seed, same actions
        value           observations -> values [N], discounted returns in the environment's own units
        distribution    observations -> the distribution's parameters: mean and log_std [N, d] of a Gaussian,
                        logits [N, n] of a categorical policy, parameters [N, D] of your own distribution

    If the policy has a memory, its endpoints also take and return `state` [N, units] (an LSTM: `state_0` and
    `state_1`), and `value` takes and returns `value_state`. Another endpoint returns the initial states of N episodes:

        initial_state   episodes int32 [N], any numbers -> state, value_state

    Actions are in the environment's form: within its bounds, or numbered from its first action. Each part of a Dict or
    Tuple is an output of its own, actions_NAME. The distribution's parameters describe actions before this conversion.

    LiteRT takes vectors as float32 before their mean is subtracted. A warning names the numbers for which float32 is
    too coarse, such as time stamps. The other formats subtract the mean in float64.

    LiteRT has no stateless random numbers and ONNX has no seeds as inputs, so their models have no `act_stochastic`. A
    LiteRT model has a signature for each endpoint. An ONNX model is one graph with all outputs and without
    `initial_state`; the metadata also hold the initial states.

    Args:
      policy: the policy.
      value_function: the value function of scaled rewards.
      return_scale: the scale of the rewards; the endpoint `value` removes it.
      path: folder of the model, NAME in TensorFlow Serving's NAME/VERSION/; made if it is missing. The version is one
        more than the highest that exists.
      format: "saved_model" (saved_model.pb), "litert" (model.tflite) or "onnx" (model.onnx, an extra).
      warmup: add requests that TensorFlow Serving runs before it serves a version (an extra).
      environment: Gymnasium id. This and the next three arguments, which the policy does not know, are stored in the
        metadata, assets.extra/tf_trpo.json.
      environment_arguments: env_kwargs, wrappers and action_masks of `make_vector_environment`, as JSON values.
      training_steps: environment steps of the training.
      evaluation: mean_return, std_return, mean_length and episodes, by the most likely actions.

    Returns:
      The folder of the version.

    Raises:
      ValueError: the format is unknown, PATH holds versions in another format, the network cannot be converted, or
        warm-up requests are asked for in a format that TensorFlow Serving does not run.
      ImportError: an extra that the format or the warm-up needs is not installed.
    """
    model = Path(path)
    require(format in MODEL_FILES, "format", described(ExportFormat), format)
    if warmup and format != "saved_model":
        raise ValueError("warm-up requests are for a saved_model: TensorFlow Serving runs no other format with them")
    _check_format(model, format)
    served = endpoints(policy, value_function, return_scale, has_float64=format != "litert")
    if format == "litert":
        warn_of_coarse_features(policy.encoder)
    initial = initial_states(policy, value_function, 1)
    metadata = ModelMetadata(
        environment=environment,
        environment_arguments=environment_arguments,
        training_steps=training_steps,
        evaluation=evaluation,
        observation_space=to_json(policy.encoder.spec),
        action_space=policy.action_distribution.describe_actions(),
        observation_statistics=_statistics(policy),
        initial_state={name: part[0].numpy().tolist() for name, part in initial.items()} or None,
        versions=installed_versions(_PACKAGES),
    )

    def write(folder: Path) -> None:
        write_model(served, [policy, value_function, return_scale], folder, format)
        if warmup:
            write_warmup_requests(served, model.resolve().name, folder)
        write_metadata(folder, metadata)

    return str(add_version(model, write))


def _check_format(model: Path, format: ExportFormat) -> None:
    """Raise ValueError if a folder has versions in another format: a server takes the highest version of any format."""
    folders = version_folders(model).values() if model.is_dir() else ()
    for other, file in MODEL_FILES.items():
        if other != format and any((folder / file).exists() for folder in folders):
            raise ValueError(f"{model} holds versions in format {other}; give format {format} a folder of its own")


def _statistics(policy: Policy) -> list[dict[str, Any]]:
    names = ("mean", "variance", "count")
    return [
        {
            **{name: getattr(normalization, name).numpy().tolist() for name in names},
            "min_std": normalization.min_std,
            "clip": normalization.clip,
        }
        for normalization in policy.encoder.normalization
    ]
