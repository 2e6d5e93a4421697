"""The endpoints of exported policies, loaded by TensorFlow and by the session loader of TensorFlow Serving."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tf_trpo.distributions import ActionDistribution, Categorical, Gaussian


class DefaultSampling(ActionDistribution):
    """An action distribution that defines only `distribution`."""

    def distribution(self, parameters):
        mean, log_std = tf.split(parameters, 2, axis=-1)
        return tfp.distributions.Independent(tfp.distributions.Normal(mean, tf.exp(log_std)), 1)


@pytest.fixture(scope="module", params=["gaussian", "categorical", "of one's own"])
def loaded(request, agents, exported, make_agent, tmp_path_factory):
    """(agent, its export as loaded: signatures die with the object that they belong to)."""
    if request.param in agents:
        return agents[request.param], tf.saved_model.load(str(exported[request.param]))
    agent = make_agent(DefaultSampling(4))
    return agent, tf.saved_model.load(agent.export(tmp_path_factory.mktemp("models")))


@pytest.mark.parametrize("count", [1, 17])
def test_every_endpoint_agrees_with_the_agent_for_any_batch_size(loaded, observations, expected, count):
    (agent, model), inputs = loaded, observations(count)
    wanted = expected(agent, inputs)
    if isinstance(agent.policy.action_distribution, Gaussian):
        # Means, and logarithms of standard deviations, by TFP.
        normal = agent.policy(inputs).distribution
        wanted |= {"mean": normal.loc.numpy(), "log_std": np.log(normal.scale.numpy())}
    cases = [("act", {}, {"actions": wanted.pop("actions")}), ("value", {}, {"values": wanted.pop("values")})]
    cases += [("serving_default", *cases[0][1:]), ("distribution", {}, wanted)]
    for seed in (0, 9):
        sampled = agent.predict(inputs, stochastic=True, seed=seed)
        cases.append(("act_stochastic", {"seed": tf.constant([seed, 0])}, {"actions": sampled}))
    for endpoint, arguments, outputs in cases:
        found = model.signatures[endpoint](observations=tf.constant(inputs), **arguments)
        assert set(found) == set(outputs)
        for name, value in outputs.items():
            assert found[name].shape == value.shape
            np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-5)


def test_samples_lie_in_the_action_space_and_depend_on_both_words_of_the_seed_and_on_the_row(loaded, observations):
    agent, model = loaded
    inputs = tf.constant(observations(300))

    def sampled(*seed, inputs=inputs):
        return model.signatures["act_stochastic"](observations=inputs, seed=tf.constant(seed))["actions"].numpy()

    np.testing.assert_array_equal(sampled(1, 2), sampled(1, 2))
    assert (sampled(1, 2) != sampled(1, 3)).any()
    assert (sampled(1, 2) != sampled(2, 2)).any()
    assert len(np.unique(sampled(0, 0, inputs=tf.zeros([17, 3])), axis=0)) > 1
    actions, distribution = sampled(0, 0), agent.policy.action_distribution
    if isinstance(distribution, Gaussian):
        np.testing.assert_array_equal(actions.max(axis=0), [0.5, 1.0])
        assert actions[:, 0].min() == -0.5
    elif isinstance(distribution, Categorical):
        assert set(actions.tolist()) == {5, 6, 7, 8}


@pytest.mark.parametrize(
    ("kind", "signatures"), [("gaussian", ["act", "act_stochastic", "value"]), ("categorical", ["distribution"])]
)
def test_the_session_loader_of_tensorflow_serving_runs_it(exported, agents, observations, expected, kind, signatures):
    inputs = observations(7)
    wanted = expected(agents[kind], inputs)
    sampled = agents[kind].predict(inputs, stochastic=True, seed=4)
    feeds = {"observations": inputs, "seed": np.array([4, 0], np.int32)}
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        definitions = tf.compat.v1.saved_model.load(session, ["serve"], str(exported[kind])).signature_def
        for signature in signatures:
            fed = {tensor.name: feeds[name] for name, tensor in definitions[signature].inputs.items()}
            [(name, output)] = definitions[signature].outputs.items()
            result = session.run(output.name, fed)
            assert name == {"value": "values", "distribution": "logits"}.get(signature, "actions")
            np.testing.assert_allclose(result, sampled if len(fed) == 2 else wanted[name], rtol=1e-5, atol=1e-5)
