"""Acting: through LiteRT, through TensorFlow, and what the policy's own distribution says."""

import logging
import pickle
import subprocess
import sys

import cloudpickle
import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tf_trpo.distributions import ActionDistribution, Categorical, Gaussian
from tf_trpo.models import Encoder, Policy, mlp
from tf_trpo.models.cells import make_cell
from tf_trpo.models.networks import default_network
from tf_trpo.rollouts import CompiledActor, LiteActor, conversion, make_actor
from tf_trpo.rollouts.conversion import litert_flatbuffer
from tf_trpo.spaces import PartSpec

NUM_ENVS = 8
LOGGER = "tf_trpo.rollouts.actor"


class DefaultSampling(ActionDistribution):
    """A distribution that defines nothing but its distribution; LiteRT has no such random operations."""

    def distribution(self, parameters):
        mean, log_std = tf.split(parameters, 2, axis=-1)
        return tfp.distributions.Independent(tfp.distributions.Normal(mean, tf.exp(log_std)), 1)


def conv_network():
    return keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            keras.layers.Conv2D(3, 3, strides=2, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(6, activation="tanh"),
        ]
    )


def compose(distribution, shape=(3,), network=None, **kwargs):
    network = mlp(shape, [6]) if network is None else network
    return Policy(Encoder(shape, distribution.num_outputs, network=network, **kwargs), distribution)


def gaussian(normalize_observations=True, **kwargs):
    return compose(Gaussian([-0.5] * 2, [0.5] * 2, **kwargs), normalize_observations=normalize_observations)


MAKERS = {
    "gaussian": gaussian,
    "gaussian, std from the observation": lambda: gaussian(state_dependent_std=True),
    "gaussian, not normalised": lambda: gaussian(normalize_observations=False),
    "categorical": lambda: compose(Categorical(4, 3)),
    "images, gaussian": lambda: compose(Gaussian([-0.5], [0.5]), (8, 8, 2), conv_network()),
    "images, categorical": lambda: compose(Categorical(4), (8, 8, 2), conv_network()),
    "gaussian, a memory": lambda: compose(Gaussian([-0.5] * 2, [0.5] * 2), cell=make_cell("gru", 5, 0)),
}


def randomize(policy, seed):
    """New values for every weight, the statistics of the normalisation included; what must be positive stays so."""
    rng = np.random.default_rng(seed)
    for weight in policy.weights:
        values = rng.standard_normal(weight.shape)
        weight.assign(np.abs(values) + 0.5 if weight.name in ("scale", "limit", "count") else values)


def weights_of(policy):
    return [weight.numpy() for weight in policy.weights]


def inputs(policy, seed=0):
    rng = np.random.default_rng(seed)
    observations = rng.standard_normal((NUM_ENVS, *policy.encoder.spec.shape)).astype(np.float32)
    states = tuple(rng.standard_normal(part.shape).astype(np.float32) for part in policy.initial_states(NUM_ENVS))
    return observations, policy.action_distribution.noise([NUM_ENVS], tf.constant([seed, 1])).numpy(), states


def expected_actions(policy, observations, noise, states, deterministic=False):
    """By the distribution of the policy's step: mean + std * noise, or the largest logit + noise."""
    parameters, _ = policy.step(tf.constant(observations), tuple(map(tf.constant, states)))
    distribution = policy.action_distribution.distribution(parameters)
    if isinstance(policy.action_distribution, Categorical):
        logits = distribution.logits_parameter().numpy()
        sampled = (logits if deterministic else logits + noise).argmax(axis=-1)
        return sampled, sampled + policy.action_distribution.first_action
    mean, std = distribution.mean().numpy(), distribution.stddev().numpy()
    sampled = mean if deterministic else mean + std * noise
    return sampled, 0.5 * sampled.clip(-1, 1)


def spoken(caplog):
    return [record for record in caplog.records if record.name == LOGGER]


@pytest.fixture(params=["lite", "compiled"])
def make(request):
    return {
        "lite": lambda policy: LiteActor(policy, NUM_ENVS),
        "compiled": lambda policy: CompiledActor(policy, NUM_ENVS),
    }[request.param]


class Doubling(keras.layers.Dense):
    """A layer of a user: what it computes, its config does not say."""

    factor = 2.0

    def call(self, inputs):
        return self.factor * super().call(inputs)


def test_policies_of_equal_structure_are_converted_once(monkeypatch):
    converted = []
    monkeypatch.setattr(conversion, "_kept", {})
    monkeypatch.setattr(
        conversion,
        "litert_flatbuffer",
        lambda converter: converted.append(litert_flatbuffer(converter)) or converted[-1],
    )

    def made(policy, num_envs=NUM_ENVS, **kwargs):
        """Whether the policy was converted, and acts as it should."""
        count = len(converted)
        randomize(policy, count)
        lite, compiled = LiteActor(policy, num_envs, **kwargs), CompiledActor(policy, num_envs, **kwargs)
        observations, noise = (rows[:num_envs] for rows in inputs(policy)[:2])
        np.testing.assert_allclose(*(each(observations, noise).sampled for each in (lite, compiled)), rtol=1e-5)
        return len(converted) > count

    assert [made(gaussian()), made(gaussian())] == [True, False]
    assert [made(gaussian(), 3), made(gaussian(), deterministic=True)] == [True, True]
    assert made(gaussian(state_dependent_std=True))
    assert [made(compose(Categorical(2), network=keras.Sequential([Doubling(4)]))) for _ in range(2)] == [True, True]


@pytest.mark.parametrize(
    ("name", "deterministic"),
    [*((name, name == "images, categorical") for name in MAKERS), ("gaussian", True), ("categorical", True)],
)
def test_both_actors_act_by_the_distribution_of_the_policy_with_the_weights_they_are_given(name, deterministic):
    policy, outcomes = MAKERS[name](), []
    actors = [
        LiteActor(policy, NUM_ENVS, deterministic=deterministic),
        CompiledActor(policy, NUM_ENVS, deterministic=deterministic),
    ]
    for seed in range(4):
        randomize(policy, seed)
        given = inputs(policy, seed % 2)
        sampled, environment = expected_actions(policy, *given, deterministic)
        _, after = policy.step(*(tf.nest.map_structure(tf.constant, given[i]) for i in (0, 2)))
        for actor in actors:
            actor.set_weights(weights_of(policy))
            actions = actor(*given)
            np.testing.assert_allclose(actions.sampled, sampled, rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(actions.environment, environment, rtol=1e-5, atol=1e-5)
            for found, expected in zip(actions.states, after, strict=True):
                np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
        outcomes.append(sampled)
    assert not np.allclose(outcomes[::2], outcomes[0], atol=0.1), "the weights make no difference: nothing is tested"


def test_an_actor_keeps_the_weights_it_was_given_and_takes_every_new_one(make):
    policy = gaussian()
    randomize(policy, seed=1)
    actor = make(policy)
    observations, noise, _ = inputs(policy)
    first = previous = actor(observations, noise).sampled
    copy = first.copy()
    randomize(policy, seed=2)
    np.testing.assert_array_equal(actor(observations, noise).sampled, copy)
    for weight in policy.weights:
        # The std and the normalisation included.
        if weight.name in ("count", "variance"):
            continue
        weight.assign(weight.numpy() + 0.3)
        actor.set_weights(weights_of(policy))
        actions = actor(observations, noise).sampled
        expected = expected_actions(policy, observations, noise, ())[0]
        np.testing.assert_allclose(actions, expected, rtol=1e-5, atol=1e-5)
        assert np.abs(actions - previous).max() > 1e-3, f"{weight.path} makes no difference"
        previous = actions
    # The actions that it gave stay.
    np.testing.assert_array_equal(first, copy)
    # What float32 cannot hold is no warning: the rollout is refused for it.
    assert actor(np.full(observations.shape, 1e300), noise).sampled.shape == first.shape


def test_sampled_actions_leave_the_bounds_and_the_environments_are_clipped(make):
    policy = gaussian(initial_std=3.0)
    actions = make(policy)(*inputs(policy))
    assert np.abs(actions.sampled).max() > 1
    np.testing.assert_array_equal(actions.environment, 0.5 * actions.sampled.clip(-1, 1))
    assert actions.environment.dtype == np.float32


def test_actions_of_higher_rank_are_stored_flat_and_given_in_shape(make):
    policy = compose(Gaussian(np.full([2, 3], -8.0), np.full([2, 3], 8.0)))
    actions = make(policy)(*inputs(policy))
    assert actions.sampled.shape == (NUM_ENVS, 6)
    np.testing.assert_array_equal(actions.environment, 8 * actions.sampled.reshape(NUM_ENVS, 2, 3).clip(-1, 1))


def test_a_policy_that_litert_can_run_is_run_by_litert_without_a_word(caplog):
    with caplog.at_level(logging.WARNING, LOGGER):
        assert isinstance(make_actor(gaussian(), NUM_ENVS), LiteActor)
    assert not spoken(caplog)


def test_a_policy_that_litert_cannot_convert_is_run_by_tensorflow_with_one_warning(caplog, monkeypatch):
    policy = compose(DefaultSampling(4))
    with caplog.at_level(logging.WARNING, LOGGER):
        actor = make_actor(policy, NUM_ENVS)
    assert isinstance(actor, CompiledActor)
    [record] = spoken(caplog)
    assert record.levelno == logging.WARNING
    assert "acting through TensorFlow, which is slower: LiteRT cannot run this policy (" in record.getMessage()
    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING, LOGGER):
        # A conversion that fails takes seconds.
        patch.setattr(conversion, "converted_once", None)
        actor = make_actor(policy, 1)
    assert isinstance(actor, CompiledActor)
    assert len(spoken(caplog)) == 1
    actor = make_actor(policy, NUM_ENVS)
    observations, noise, _ = inputs(policy)
    actions = actor(observations, noise).sampled
    assert actions.shape == (NUM_ENVS, 2)
    np.testing.assert_array_equal(actor(observations, noise).sampled, actions)
    assert not np.allclose(actor(*inputs(policy, seed=1)).sampled, actions)
    # Its mode needs no random numbers.
    actor = make_actor(policy, NUM_ENVS, deterministic=True)
    assert isinstance(actor, LiteActor)
    np.testing.assert_allclose(actor(observations, noise).sampled, policy(observations).mean(), rtol=1e-5, atol=1e-6)


def test_without_litert_tensorflow_acts_with_a_warning(caplog, monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with caplog.at_level(logging.WARNING, LOGGER):
        assert isinstance(make_actor(gaussian(), NUM_ENVS), CompiledActor)
    assert len(spoken(caplog)) == 1


def test_where_there_is_a_gpu_tensorflow_acts_on_images_of_a_single_shard(caplog, monkeypatch):
    images = PartSpec((8, 8, 2), "uint8", "image")
    specs = (images, {"camera": images, "speed": PartSpec((2,), "float64", "vector")})
    policies = [compose(Categorical(4), spec, default_network(spec)) for spec in specs]
    vectors = compose(Categorical(4), (8, 8, 2), conv_network())
    assert [type(make_actor(policy, NUM_ENVS)) for policy in policies] == [LiteActor] * 2
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: ["one"] if kind == "GPU" else [])
    assert [type(make_actor(policy, NUM_ENVS)) for policy in policies] == [CompiledActor] * 2
    assert not spoken(caplog)
    assert isinstance(make_actor(vectors, NUM_ENVS), LiteActor)
    # Workers step shards, and act by LiteRT.
    assert isinstance(make_actor(policies[0], NUM_ENVS, shards=2), LiteActor)


@pytest.mark.parametrize("name", ["gaussian", "images, categorical", "gaussian, a memory"])
def test_a_shard_acts_as_it_would_alone(name, make):
    policy = MAKERS[name]()
    randomize(policy, 3)
    given = inputs(policy)
    whole = type(make(policy))(policy, NUM_ENVS, shards=4)
    parts = [tf.nest.map_structure(lambda rows, i=i: rows[i : i + 2], given) for i in range(0, 8, 2)]
    alone = [tf.nest.flatten(type(whole)(policy, NUM_ENVS // 4)(*part)) for part in parts]
    for together, *apart in zip(tf.nest.flatten(whole(*given)), *alone, strict=True):
        assert together.tobytes() == np.concatenate(apart).tobytes()
    with pytest.raises(ValueError, match="shards must be a divisor of 8 environments, got 3"):
        type(whole)(policy, NUM_ENVS, shards=3)


def test_pickled_actors_act_alike_in_a_process_without_tensorflow(tmp_path):
    given, expected = {}, {}
    for name, make_policy in MAKERS.items():
        policy = make_policy()
        randomize(policy, 4)
        actor, rows = LiteActor(policy, NUM_ENVS), inputs(policy)
        given[name], expected[name] = (actor, weights_of(policy), rows), tf.nest.flatten(actor(*rows))
    (tmp_path / "given").write_bytes(pickle.dumps(given))
    code = (
        "import pickle, sys; actors = pickle.load(open('given', 'rb'))\n"
        "for actor, weights, _ in actors.values(): actor.set_weights(weights)\n"
        "found = {name: actor(*rows) for name, (actor, _, rows) in actors.items()}\n"
        "pickle.dump(found, open('found', 'wb')); assert not {'tensorflow', 'keras'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=60)
    for name, outputs in pickle.loads((tmp_path / "found").read_bytes()).items():
        for found, wanted in zip(tf.nest.flatten(outputs), expected.pop(name), strict=True):
            assert found.dtype == wanted.dtype, name
            assert found.tobytes() == wanted.tobytes(), name
    assert not expected


class Own(ActionDistribution):
    """A user's own, which says by TensorFlow only what the environment gets."""

    def distribution(self, parameters):
        return tfp.distributions.MultivariateNormalDiag(parameters)

    def noise(self, shape, seed):
        return tf.random.stateless_normal([*shape, self.num_outputs], seed)

    def sample(self, parameters, noise):
        return parameters + noise

    def to_environment(self, actions):
        return 2 * actions


def test_a_distribution_of_a_users_own_goes_to_another_process_too():
    policy = compose(Own(2))
    randomize(policy, 5)
    observations, noise, _ = inputs(policy)
    actor = LiteActor(policy, NUM_ENVS)
    copy = cloudpickle.loads(cloudpickle.dumps(actor))
    copy.set_weights(weights_of(policy))
    for found, wanted in zip(copy(observations, noise)[:2], actor(observations, noise)[:2], strict=True):
        assert found.tobytes() == wanted.tobytes()
    np.testing.assert_array_equal(copy(observations, noise).environment, 2 * copy(observations, noise).sampled)
