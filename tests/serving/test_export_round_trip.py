"""Exported policies: loaded by TensorFlow, and run by the session loader that TensorFlow Serving uses."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tf_trpo.distributions import ActionDistribution, Categorical, Gaussian


class DefaultSampling(ActionDistribution):
    """A distribution that defines nothing but its distribution."""

    def distribution(self, parameters):
        mean, log_std = tf.split(parameters, 2, axis=-1)
        return tfp.distributions.Independent(tfp.distributions.Normal(mean, tf.exp(log_std)), 1)


BOUNDS = [-0.5, -1.0], [0.5, 1.0]
DISTRIBUTIONS = {
    "gaussian": Gaussian(*BOUNDS),
    "gaussian, std from the observation": Gaussian(*BOUNDS, state_dependent_std=True),
    "categorical": Categorical(4, 5),
    "of one's own": DefaultSampling(4),
}


@pytest.fixture(scope="module", params=DISTRIBUTIONS)
def exported(request, tmp_path_factory, make_agent):
    """(agent, its export as loaded: signatures die with the object that they belong to)."""
    agent = make_agent(DISTRIBUTIONS[request.param])
    return agent, tf.saved_model.load(agent.export(tmp_path_factory.mktemp("models") / "policy"))


@pytest.mark.parametrize("count", [1, 3, 17])
def test_every_endpoint_gives_what_the_agent_gives_for_any_batch_size(exported, observations, expected, count):
    (agent, loaded), inputs = exported, observations(count)
    wanted = expected(agent, inputs)
    if isinstance(agent.policy.action_distribution, Gaussian):
        # TFP's own view of the distribution: means, and logarithms of standard deviations.
        normal = agent.policy(inputs).distribution
        wanted |= {"mean": normal.loc.numpy(), "log_std": np.log(normal.scale.numpy())}
    cases = [("act", {}, {"actions": wanted.pop("actions")}), ("value", {}, {"values": wanted.pop("values")})]
    cases += [("serving_default", *cases[0][1:]), ("distribution", {}, wanted)]
    for seed in (0, 9):
        sampled = agent.predict(inputs, stochastic=True, seed=seed)
        cases.append(("act_stochastic", {"seed": tf.constant([seed, 0])}, {"actions": sampled}))
    for endpoint, arguments, outputs in cases:
        found = loaded.signatures[endpoint](observations=tf.constant(inputs), **arguments)
        assert set(found) == set(outputs)
        for name, value in outputs.items():
            assert found[name].shape == value.shape
            np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-5)


def test_samples_depend_on_both_words_of_the_seed_and_on_the_row(exported):
    def sampled(*seed):
        arguments = {"observations": tf.zeros([17, 3]), "seed": tf.constant(seed)}
        return exported[1].signatures["act_stochastic"](**arguments)["actions"].numpy()

    np.testing.assert_array_equal(sampled(1, 2), sampled(1, 2))
    assert (sampled(1, 2) != sampled(1, 3)).any()
    assert (sampled(1, 2) != sampled(2, 2)).any()
    assert len(np.unique(sampled(0, 0), axis=0)) > 1


def test_sampled_actions_are_those_of_the_environment(exported, observations):
    arguments = {"observations": tf.constant(observations(300)), "seed": tf.constant([0, 0])}
    actions = exported[1].signatures["act_stochastic"](**arguments)["actions"].numpy()
    distribution = exported[0].policy.action_distribution
    if isinstance(distribution, Gaussian):
        np.testing.assert_array_equal(np.abs(actions).max(axis=0), [0.5, 1.0])
    elif isinstance(distribution, Categorical):
        assert set(actions.tolist()) == {5, 6, 7, 8}


@pytest.mark.parametrize(
    ("kind", "signatures"),
    [("gaussian", ["act", "act_stochastic", "value"]), ("categorical", ["act_stochastic", "distribution"])],
)
def test_the_session_loader_of_tensorflow_serving_runs_it(tmp_path, agents, observations, expected, kind, signatures):
    folder, inputs = agents[kind].export(tmp_path / "model"), observations(7)
    wanted = expected(agents[kind], inputs)
    sampled = agents[kind].predict(inputs, stochastic=True, seed=4)
    feeds = {"observations": inputs, "seed": np.array([4, 0], np.int32)}
    for signature in signatures:
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            loaded = tf.compat.v1.saved_model.load(session, ["serve"], folder).signature_def[signature]
            fed = {tensor.name: feeds[name] for name, tensor in loaded.inputs.items()}
            [(name, output)] = loaded.outputs.items()
            result = session.run(output.name, fed)
        assert name == {"value": "values", "distribution": "logits"}.get(signature, "actions")
        np.testing.assert_allclose(result, sampled if len(fed) == 2 else wanted[name], rtol=1e-5, atol=1e-5)
