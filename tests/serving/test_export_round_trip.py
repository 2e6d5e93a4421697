"""Exported policies: loaded by TensorFlow, and run by the session loader that TensorFlow Serving uses."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tf_trpo.distributions import ActionDistribution, Categorical, Gaussian
from tf_trpo.distributions.tfp import diagonal_gaussian


class DefaultSampling(ActionDistribution):
    """A distribution that defines nothing but its distribution."""

    def distribution(self, parameters):
        return diagonal_gaussian(*tf.split(parameters, 2, axis=-1))


def gaussian(**kwargs):
    return Gaussian([-0.5, -1.0], [0.5, 1.0], **kwargs)


def categorical():
    return Categorical(4, 5)


DISTRIBUTIONS = {
    "gaussian": gaussian,
    "gaussian, std from the observation": lambda: gaussian(state_dependent_std=True),
    "categorical": categorical,
    "of one's own": lambda: DefaultSampling(4),
}


@pytest.fixture(scope="module", params=DISTRIBUTIONS)
def exported(request, tmp_path_factory, make_agent):
    """(agent, folder of the first version)."""
    agent = make_agent(DISTRIBUTIONS[request.param]())
    return agent, agent.export(tmp_path_factory.mktemp("models") / "policy")


@pytest.fixture(scope="module")
def loaded(exported):
    # The signatures die with the object that they belong to.
    return tf.saved_model.load(exported[1])


def test_the_endpoints_and_their_names(loaded):
    signatures = loaded.signatures
    assert set(signatures) == {"act", "act_stochastic", "value", "distribution", "serving_default"}
    inputs = {name: signatures[name].structured_input_signature[1] for name in signatures}
    assert {name: set(specs) for name, specs in inputs.items()} == {
        "act": {"observations"},
        "serving_default": {"observations"},
        "value": {"observations"},
        "distribution": {"observations"},
        "act_stochastic": {"observations", "seed"},
    }
    assert inputs["act"]["observations"].shape.as_list() == [None, 3]
    assert inputs["act"]["observations"].dtype == tf.float32
    assert (inputs["act_stochastic"]["seed"].shape, inputs["act_stochastic"]["seed"].dtype) == ([2], tf.int32)


@pytest.mark.parametrize("count", [1, 3, 17])
def test_the_mode_is_that_of_the_agent_for_any_batch_size(exported, loaded, observations, count):
    agent, inputs = exported[0], observations(count)
    for name in ("act", "serving_default"):
        actions = loaded.signatures[name](observations=tf.constant(inputs))["actions"]
        np.testing.assert_allclose(actions, agent.predict(inputs), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("count", [1, 3, 17])
def test_samples_are_those_of_the_agent_for_any_batch_size(exported, loaded, observations, count):
    agent, inputs = exported[0], observations(count)
    for seed in (0, 9):
        arguments = {"observations": tf.constant(inputs), "seed": tf.constant([seed, 0])}
        actions = loaded.signatures["act_stochastic"](**arguments)["actions"]
        np.testing.assert_allclose(actions, agent.predict(inputs, stochastic=True, seed=seed), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("count", [1, 3, 17])
def test_values_are_those_of_the_agent_in_units_of_the_environment_for_any_batch_size(
    exported, loaded, observations, expected, count
):
    inputs = observations(count)
    values = loaded.signatures["value"](observations=tf.constant(inputs))["values"]
    assert values.shape == [count]
    np.testing.assert_allclose(values, expected(exported[0], inputs)["values"], rtol=1e-5, atol=1e-5)
    assert np.abs(values - exported[0].value_function(inputs)).max() > 0.1


@pytest.mark.parametrize("count", [1, 17])
def test_the_distribution_is_that_of_the_policy_parameter_by_parameter(exported, loaded, observations, count):
    agent, inputs = exported[0], observations(count)
    found = loaded.signatures["distribution"](observations=tf.constant(inputs))
    parameters = agent.policy.distribution_parameters(inputs).numpy()
    if isinstance(agent.policy.action_distribution, Gaussian):
        # TFP's own view of the distribution: means, and logarithms of standard deviations.
        normal = agent.policy(inputs).distribution
        wanted = {"mean": normal.loc.numpy(), "log_std": np.log(normal.scale.numpy())}
    else:
        wanted = {"logits" if isinstance(agent.policy.action_distribution, Categorical) else "parameters": parameters}
    assert set(found) == set(wanted)
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-5)


def test_the_same_seed_gives_the_same_actions_and_another_seed_others(loaded, observations):
    inputs = tf.constant(observations(17))

    def sampled(*seed):
        return loaded.signatures["act_stochastic"](observations=inputs, seed=tf.constant(seed))["actions"].numpy()

    np.testing.assert_array_equal(sampled(1, 2), sampled(1, 2))
    assert (sampled(1, 2) != sampled(1, 3)).any()
    assert (sampled(1, 2) != sampled(2, 2)).any()


def test_equal_observations_get_different_samples(loaded):
    actions = loaded.signatures["act_stochastic"](observations=tf.zeros([17, 3]), seed=tf.constant([0, 0]))["actions"]
    assert len(np.unique(actions, axis=0)) > 1


def test_the_normalisation_is_inside(exported, loaded, observations):
    agent, _ = exported
    inputs = observations(17)
    mean, variance = agent.policy.encoder.normalization.mean, agent.policy.encoder.normalization.variance
    kept = mean.numpy(), variance.numpy()
    actions = loaded.signatures["act"](observations=tf.constant(inputs))["actions"].numpy()
    mean.assign(np.zeros(3))
    variance.assign(np.ones(3))
    without = agent.predict(inputs)
    mean.assign(kept[0])
    variance.assign(kept[1])
    assert np.abs(actions - without).max() > 0.1


def test_gaussian_actions_are_clipped_to_the_bounds(tmp_path, make_agent, observations):
    agent = make_agent(gaussian())
    act = tf.saved_model.load(agent.export(tmp_path)).signatures["act_stochastic"]
    actions = act(observations=tf.constant(observations(300)), seed=tf.constant([0, 0]))["actions"].numpy()
    np.testing.assert_array_equal(np.abs(actions).max(axis=0), [0.5, 1.0])


def test_categorical_actions_are_numbered_from_the_first_of_the_environment(tmp_path, make_agent, observations):
    agent = make_agent(categorical())
    act = tf.saved_model.load(agent.export(tmp_path)).signatures["act_stochastic"]
    actions = act(observations=tf.constant(observations(300)), seed=tf.constant([0, 0]))["actions"].numpy()
    assert set(actions.tolist()) == {5, 6, 7, 8}


def test_an_export_stays_as_it_is_when_the_agent_learns_on(tmp_path, make_agent, observations):
    agent = make_agent(gaussian())
    inputs = observations(5)
    before = agent.predict(inputs)
    folder = agent.export(tmp_path)
    agent.policy.encoder.output_layer.bias.assign([9.0, 9.0])
    actions = tf.saved_model.load(folder).signatures["act"](observations=tf.constant(inputs))["actions"]
    np.testing.assert_allclose(actions, before, rtol=1e-5, atol=1e-5)


def run_saved_model_cli(folder, signature, output, *inputs):
    command = [
        *(Path(sys.executable).parent / "saved_model_cli", "run", "--dir", folder, "--tag_set", "serve"),
        *("--signature_def", signature, "--inputs", ";".join(inputs), "--outdir", output),
    ]
    subprocess.run([str(part) for part in command], check=True, capture_output=True, timeout=300)
    [result] = Path(output).glob("*.npy")
    return result.stem, np.load(result)


@pytest.mark.parametrize(
    ("make_distribution", "signatures"),
    [
        pytest.param(gaussian, ["act", "act_stochastic", "value"], marks=pytest.mark.slow),
        (categorical, ["act_stochastic", "distribution"]),
    ],
    ids=["gaussian", "categorical"],
)
def test_the_session_loader_of_tensorflow_serving_runs_it(
    tmp_path, make_agent, observations, expected, make_distribution, signatures
):
    agent = make_agent(make_distribution())
    folder = agent.export(tmp_path / "model")
    inputs = observations(7)
    np.save(tmp_path / "observations.npy", inputs)
    np.save(tmp_path / "seed.npy", np.array([4, 0], np.int32))
    wanted = expected(agent, inputs)
    sampled = agent.predict(inputs, stochastic=True, seed=4)
    for signature in signatures:
        files = [f"observations={tmp_path}/observations.npy"]
        if signature == "act_stochastic":
            files.append(f"seed={tmp_path}/seed.npy")
        name, result = run_saved_model_cli(folder, signature, tmp_path / signature, *files)
        assert name == {"value": "values", "distribution": "logits"}.get(signature, "actions")
        np.testing.assert_allclose(
            result, sampled if signature == "act_stochastic" else wanted[name], rtol=1e-5, atol=1e-5
        )


def test_versions_are_numbered_and_nothing_half_written_is_left(tmp_path, make_agent):
    agent = make_agent(gaussian())
    root = tmp_path / "new" / "policy"
    folders = [agent.export(root) for _ in range(3)]
    assert folders == [str(root / "1"), str(root / "2"), str(root / "3")]
    assert sorted(path.name for path in root.iterdir()) == ["1", "2", "3"]
    assert all((Path(folder) / "saved_model.pb").is_file() for folder in folders)


def test_the_next_version_follows_the_highest_number_there(tmp_path, make_agent):
    for name in ("2", "10", "notes", ".hidden"):
        (tmp_path / name).mkdir()
    assert make_agent(gaussian()).export(tmp_path) == str(tmp_path / "11")


def test_an_export_that_breaks_off_leaves_no_version(tmp_path, monkeypatch, make_agent):
    def half(archive, path, **kwargs):
        Path(path).mkdir()
        (Path(path) / "saved_model.pb").write_text("half")
        raise OSError("no space left on device")

    monkeypatch.setattr(tf.saved_model, "save", half)
    with pytest.raises(OSError, match="no space left"):
        make_agent(gaussian()).export(tmp_path)
    assert list(tmp_path.iterdir()) == []
