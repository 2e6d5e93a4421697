"""What an agent's config.json may name: all else is refused in one line, with nothing imported, run or allocated."""

import dataclasses
import itertools
import json

import gymnasium as gym
import keras
import numpy as np
import pytest

import tf_trpo
from tf_trpo.learning import UpdateSettings
from tf_trpo.models.structure import nested_dataclasses
from tf_trpo.optimizers import ALGORITHMS, AdaptiveRadius
from tf_trpo.training.keras_config import check_config


def node(module, name, config=None, **others):
    return {"module": module, "class_name": name, "config": config or {}, "registered_name": None, **others}


def function(module, name):
    return {"module": module, "class_name": "function", "config": name, "registered_name": name}


CODE = "4wAAAAAAAAAAAAAAAAEAAAADAAAA8w=="
LAMBDA = {"class_name": "__lambda__", "config": {"value": CODE}}
NOT_ALLOWED = {
    "a module of somebody": node("stranger_module", "Layer"),
    "its function": node("keras.layers", "Activation", {"activation": function("stranger_module", "run")}),
    "os.system": node("keras.layers", "Activation", {"activation": function("os", "system")}),
    "eval": node("keras.layers", "Activation", {"activation": function("builtins", "eval")}),
    "a download": node("keras.layers", "Activation", {"activation": function("keras.utils", "get_file")}),
    "safe mode off": node(
        "keras.layers", "Dense", {"units": function("keras.config", "enable_unsafe_deserialization")}
    ),
    "another model": node("keras.layers", "Activation", {"activation": function("keras.models", "load_model")}),
    "downloaded weights": node("keras.applications", "ResNet50"),
    "Lambda": node("keras.layers", "Lambda", {"function": LAMBDA}),
    "Lambda of another name": node("keras.src.layers.core.lambda_layer", "Lambda", {"function": LAMBDA}),
    "Lambda in the older form": {"class_name": "Lambda", "config": {"function": [CODE, None, None]}},
    "a lambda": node("keras.layers", "Activation", {"activation": LAMBDA}),
    "a lambda deep in a layer": node("keras.layers", "TimeDistributed", {"layer": node("keras.layers", "Lambda")}),
    "vocabulary": node("keras.layers", "StringLookup", {"vocabulary": "/etc/hostname"}),
    "vocabulary of numbers": node("keras.layers", "IntegerLookup", {"vocabulary": "/etc/hostname"}),
    "vocabulary of texts": node("keras.layers", "TextVectorization", {"vocabulary": "/etc/hostname"}),
    "lookup by its own name": node("keras.src.layers.preprocessing.index_lookup", "IndexLookup"),
    "SavedModel": node("keras.layers", "TFSMLayer", {"filepath": "/tmp"}),
    "PyTorch": node("keras.layers", "TorchModuleWrapper", {"module": "gASVAAAA"}),
    "JAX": node("keras.layers", "JaxLayer"),
    "Flax": node("keras.layers", "FlaxLayer"),
    "features": node("keras.utils", "FeatureSpace"),
    "a callback": node("keras.callbacks", "CSVLogger", {"filename": "/tmp/log"}),
    "a module that Keras would import": node("keras.src.legacy.saving.nothing", "Layer"),
    "a package that Keras would import": node("keras_hub.models", "Backbone"),
    "a private function": function("keras.src.ops.numpy", "absolute"),
    "a type by its module": {"class_name": "__typespec__", "module": "os", "spec_name": "x", "config": []},
    "an array of texts": {"class_name": "__numpy__", "config": {"value": "a", "dtype": "S9999999999"}},
    "a name that is no text": node("keras.layers", ["Dense"]),
    "no config": {"class_name": "Dense", "module": "keras.layers"},
    "a registered name nobody has": node(None, "Layer", registered_name="stranger>Layer"),
}


@pytest.mark.parametrize("name", NOT_ALLOWED)
def test_what_would_run_read_or_import_is_refused_by_its_place(name, stranger, trap, refusal):
    message = refusal(stranger(layer=lambda _: NOT_ALLOWED[name]))
    assert "config.json/config/policy/config/encoder/config/network/config/layers/1" in message


@pytest.mark.parametrize(
    "where", ["compile_config", "build_config", "inbound_nodes", "arguments", "custom", "registered_name"]
)
def test_it_is_found_wherever_it_stands(where, stranger, trap, refusal):
    message = refusal(stranger(layer=lambda layer: {**layer, where: [{"deep": [node("stranger_module", "Layer")]}]}))
    assert "stranger_module.Layer" in message
    assert "custom_objects" in message


def test_another_root_is_refused(stranger, refusal):
    def policy_alone(content):
        agent = json.loads(content["config.json"])
        return [*(content | {"config.json": json.dumps(agent["config"]["policy"])}).items()]

    assert "it holds a Policy, not a TRPO agent" in refusal(stranger(members=policy_alone))
    a_list = stranger(members=lambda content: [*(content | {"config.json": b"[]"}).items()])
    assert "it holds a list, not a TRPO agent" in refusal(a_list)


@pytest.mark.parametrize(
    "text", [b"", b"{", b"\xff\xfe{", b"[" * 10**6, b'{"a":' * 5000, b"1" * 10**5, b"nul", b'"\xff"']
)
def test_a_config_that_is_no_json_is_refused(text, stranger, refusal):
    assert "config.json" in refusal(stranger(members=lambda content: [*(content | {"config.json": text}).items()]))


def test_nesting_and_size_are_limited(stranger, refusal):
    deep = json.loads("[" * 200 + "]" * 200)
    assert "nested more than 100" in refusal(stranger(config=lambda settings: settings.update(deep=deep)))
    assert "config.json has" in refusal(stranger(config=lambda settings: settings.update(long="x" * 2**24)))


def of_policy(part, **changes):
    return lambda settings: settings["config"]["policy"]["config"][part]["config"].update(changes)


WIDE = node("keras.layers", "Dense", {"units": 100_000})


@pytest.mark.parametrize(
    "changes",
    [
        {"config": of_policy("action_distribution", action_low=[0.0] * 9, action_high=[1.0] * 9)},
        {"layers": lambda layers: layers[1]["config"].update(units=2**24)},
        {"layers": lambda layers: layers.extend([WIDE, WIDE])},
        {"config": of_policy("encoder", observation_shape=[2**24])},
    ],
    ids=["actions", "units", "product", "observations"],
)
def test_weights_that_the_file_does_not_have_are_refused_before_they_are_allocated(changes, stranger, refusal):
    refusal(stranger(**changes), "compile", "exec")


NORMALIZATION = {"axis": [1, 2], "mean": 0.0, "variance": 1.0}


@pytest.mark.parametrize(
    ("layers", "reason"),
    [
        (
            [("RepeatVector", {"n": 3 * 10**8}), ("Normalization", NORMALIZATION)],
            "Normalization whose mean or variance",
        ),
        ([("RepeatVector", {"n": 2**24}), ("Normalization", NORMALIZATION)], "Normalization whose mean or variance"),
        ([("Normalization", NORMALIZATION | {"axis": -1})], "Normalization whose mean or variance"),
        ([("RepeatVector", {"n": 2**24 + 1})], "config/n is an integer beyond 16777216"),
        ([("Reshape", {"target_shape": [1, -(10**30)]})], "target_shape/1 is an integer beyond 16777216"),
    ],
    ids=["integer and statistics", "statistics", "of one axis", "integer", "in a list"],
)
def test_arrays_that_are_no_weights_are_refused_before_they_are_allocated(layers, reason, stranger, refusal):
    """Such a file of 53 kB would make Keras take 9 GB."""
    nodes = [node("keras.layers", name, config) for name, config in layers]
    path = stranger(layers=lambda layers: layers.extend(nodes))
    assert reason in refusal(path)


@pytest.fixture
def again(tmp_path):
    """again(agent): the agent, saved and loaded."""

    def save_and_load(agent, **options):
        agent.save(tmp_path / "agent.keras")
        return tf_trpo.load(tmp_path / "agent.keras", **options)

    return save_and_load


class FarFromZero(gym.Env):
    observation_space = gym.spaces.Dict(
        a=gym.spaces.Discrete(3, start=2**40), b=gym.spaces.MultiDiscrete([2], start=[-(2**30)])
    )
    action_space = gym.spaces.Discrete(2, start=2**30)


def test_numbers_that_are_no_sizes_may_be_large(again):
    """First numbers, sizes of batches, seeds, steps of schedules, and integers in settings that are real numbers."""
    agent = tf_trpo.TRPO.for_env(FarFromZero, seed=10**9)
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 10**9)
    update = UpdateSettings(value_minibatch_size=2**30, chunk_size=2**30, advantage_clip=2**30)
    ppo = tf_trpo.optimizers.ClippedSurrogate(ppo_minibatch_size=10**9)
    agent.compile(ppo, keras.optimizers.Adam(schedule), update=update)
    observation = FarFromZero.observation_space.sample()
    assert again(agent).predict(observation) == agent.predict(observation)


PARTS = map(type, itertools.chain(*(nested_dataclasses(settings()) for settings in ALGORITHMS.values())))


@pytest.mark.parametrize("settings", dict.fromkeys((*PARTS, AdaptiveRadius, UpdateSettings)))
def test_every_integer_that_a_setting_of_an_update_may_be_is_allowed(settings):
    """So that an agent which could be trained and saved can be loaded, also with settings that are added later."""
    tried = 0
    for field in dataclasses.fields(settings):
        for value in (2**31 - 1, (2**31 - 1,)):
            try:
                made = settings(**{field.name: value})
            except ValueError:
                continue
            config = {"compile_config": {"settings": dataclasses.asdict(made)}}
            check_config(node("tf_trpo", "TRPO", registered_name="tf_trpo>TRPO", **config), {}, tf_trpo.TRPO)
            tried += 1
    assert tried or settings is tf_trpo.optimizers.Backtracking


OBSERVATIONS = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)


class Doubled(keras.layers.Layer):
    """A layer of the user's own."""

    def call(self, inputs):
        return 2 * inputs


def test_a_users_own_layer_is_made_if_it_is_given_or_registered(again):
    network = keras.Sequential([keras.Input((4,)), Doubled(), keras.layers.Dense(3, "gelu")])
    agent = tf_trpo.TRPO.for_env("CartPole-v1", network=network)
    with pytest.raises(ValueError, match=r"layers/1 names .*Doubled, which is neither .*custom_objects"):
        again(agent)
    loaded = again(agent, custom_objects={"Doubled": Doubled})
    np.testing.assert_array_equal(loaded(OBSERVATIONS).logits, agent(OBSERVATIONS).logits)
    with keras.saving.custom_object_scope({"Doubled": Doubled}):
        assert isinstance(again(agent), tf_trpo.TRPO)


def test_networks_of_many_parts_of_keras_come_back(again):
    inputs = keras.Input((4,))
    adapted = keras.layers.Normalization()
    adapted.adapt(OBSERVATIONS)
    wide = keras.layers.Dense(6, keras.activations.swish, kernel_initializer=keras.initializers.GlorotNormal(10**9))
    features = wide(adapted(inputs))
    steps = keras.layers.LSTM(3)(keras.layers.Reshape((2, 3))(keras.layers.Dropout(0.5, seed=1)(features)))
    outputs = keras.layers.Concatenate()([steps, keras.ops.tanh(features), features[:, :2], inputs * 3.0])
    inner = keras.Sequential([keras.Input((4,)), keras.layers.BatchNormalization(), keras.layers.Dense(4)])
    agent = tf_trpo.TRPO.for_env("CartPole-v1", network=keras.Model(inputs, outputs), value_network=inner)
    schedule = keras.optimizers.schedules.ExponentialDecay(1e-3, 10, 0.9)
    agent.compile(tf_trpo.optimizers.VanillaPolicyGradient(), keras.optimizers.RMSprop(schedule))
    loaded = again(agent)
    np.testing.assert_array_equal(loaded(OBSERVATIONS).logits, agent(OBSERVATIONS).logits)
    np.testing.assert_array_equal(loaded.value_function(OBSERVATIONS), agent.value_function(OBSERVATIONS))
