"""Every kind of Keras layer learns: two whole iterations in an environment, saved and loaded again."""

import functools

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_trpo
from tf_trpo.distributions import Categorical
from tf_trpo.learning import UpdateSettings
from tf_trpo.models import Encoder, Policy, ValueFunction
from tf_trpo.models.making import make_value_functions
from tf_trpo.models.settings import PolicySettings, ValueSettings
from tf_trpo.optimizers import NaturalDirection, TrustRegion
from tf_trpo.spaces import PartSpec

layers = keras.layers


class Rows(gym.Env):
    """Random observations; the sum of the last action and the first number is the reward."""

    action_space = gym.spaces.Discrete(3)

    def __init__(self, shape=(6, 4), *, whole=False):
        self.whole = whole
        self.observation_space = gym.spaces.Box(-5, 5, shape, np.float32)
        self.steps = 0

    def observe(self):
        drawn = self.np_random.uniform(0, 5, self.observation_space.shape)
        return (np.floor(drawn) if self.whole else drawn).astype(np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observe(), {}

    def step(self, action):
        self.steps += 1
        observation = self.observe()
        return observation, float(action) + float(observation.flat[0]), self.steps % 5 == 0, False, {}


def attention():
    inputs = keras.Input((6, 4))
    features = layers.Flatten()(layers.MultiHeadAttention(2, 3)(inputs, inputs))
    return keras.Model(inputs, layers.BatchNormalization()(layers.LayerNormalization()(features)))


def stack(shape, *made):
    return keras.Sequential([keras.Input(shape), *made])


NETWORKS = {
    "Embedding and SimpleRNN": lambda: stack((4,), layers.Embedding(5, 3), layers.SimpleRNN(5)),
    "attention and normalisation": attention,
    "Bidirectional LSTM": lambda: stack((6, 4), layers.Bidirectional(layers.LSTM(3))),
    "convolution": lambda: stack(
        (8, 8, 3), layers.Conv2D(4, 3, activation="relu"), layers.MaxPooling2D(2), layers.Flatten()
    ),
    # Statistics of all 32 numbers cannot go into a layer that has one kernel for all rows.
    "Dense on rank 2": lambda: stack((8, 4), layers.Dense(8), layers.Flatten()),
    "GRU": lambda: stack((6, 4), layers.GRU(5, return_sequences=True), layers.GRU(3)),
    "LSTM": lambda: stack((6, 4), layers.LSTM(5), layers.Dropout(0.5)),
    "recurrent convolution": lambda: stack((3, 6, 6, 2), layers.ConvLSTM2D(2, 3), layers.Flatten()),
    "other convolutions": lambda: stack(
        (8, 8, 3), layers.SeparableConv2D(4, 3), layers.Conv2DTranspose(3, 2), layers.GlobalAveragePooling2D()
    ),
    "Conv1D": lambda: stack((6, 4), layers.Conv1D(4, 3), layers.GroupNormalization(2), layers.Flatten()),
    "TimeDistributed": lambda: stack((6, 4), layers.TimeDistributed(layers.Dense(3)), layers.Flatten()),
}
SLOW = {"Bidirectional LSTM", "GRU", "LSTM", "recurrent convolution", "other convolutions", "Conv1D", "TimeDistributed"}
KINDS = [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in NETWORKS]
# In the first one, the output layer is 0, so that the layers below it have no gradient.
ITERATIONS = {"total_steps": 15, "num_steps": 12, "verbose": 0}


def agent_of(name, jit_compile=False):
    network, value_network = NETWORKS[name](), NETWORKS[name]()
    environment = functools.partial(Rows, network.input_shape[1:], whole="Embedding" in name)
    agent = tf_trpo.TRPO.for_env(environment, network=network, value_network=value_network, seed=0)
    optimizer = TrustRegion(0.05, direction=NaturalDirection(cg_iterations=3))
    agent.compile(optimizer, update=UpdateSettings(value_epochs=1), jit_compile=jit_compile)
    return agent, environment


@pytest.mark.parametrize("name", KINDS)
def test_a_network_of_any_layers_learns_and_is_loaded_again(name, tmp_path):
    agent, environment = agent_of(name)
    before = [variable.numpy() for variable in agent.trainable_variables]
    history = agent.fit(environment, **ITERATIONS).history
    assert history["train/is_line_search_success"] == [1.0, 1.0]
    assert 0 < min(history["train/kl_divergence_loss"]) <= max(history["train/kl_divergence_loss"]) <= 0.05
    for old, variable in zip(before, agent.trainable_variables, strict=True):
        assert np.isfinite(variable.numpy()).all()
        # A bias in front of a softmax over positions, or of a key, has no influence.
        assert not np.array_equal(old, variable.numpy()) or "key" in variable.path, variable.path
    agent.save(tmp_path / "agent.keras")
    loaded = tf_trpo.load(tmp_path / "agent.keras")
    rows = np.stack([environment().reset(seed=seed)[0] for seed in range(5)])
    np.testing.assert_array_equal(loaded.policy.encoder(rows), agent.policy.encoder(rows))


class Labelled(Rows):
    """A number and a token, each a part of its own."""

    observation_space = gym.spaces.Dict(
        number=gym.spaces.Box(-5, 5, (1,), np.float64), token=gym.spaces.Box(0, 4, (1,), np.int64)
    )

    def __init__(self):
        self.steps = 0

    def observe(self):
        return {"number": self.np_random.uniform(-5, 5, 1), "token": self.np_random.integers(0, 5, 1)}

    def step(self, action):
        self.steps += 1
        return self.observe(), float(action), self.steps % 5 == 0, False, {}


def test_numbers_are_normalised_next_to_tokens_that_are_not(tmp_path):
    def network():
        inputs = {"number": keras.Input((1,), name="number"), "token": keras.Input((1,), name="token")}
        embedded = layers.Flatten()(layers.Embedding(5, 3)(inputs["token"]))
        return keras.Model(inputs, layers.Concatenate()([inputs["number"], embedded]))

    agent = tf_trpo.TRPO.for_env(Labelled, network=network(), value_network=network(), seed=0)
    assert [layer is None for layer in agent.policy.encoder.normalization_by_part] == [False, True]
    agent.compile(update=UpdateSettings(value_epochs=1), jit_compile=False)
    assert agent.fit(Labelled, **ITERATIONS).history["train/is_line_search_success"][-1] == 1.0
    observation, _ = Labelled().reset(seed=0)
    agent.save(tmp_path / "agent.keras")
    assert tf_trpo.load(tmp_path / "agent.keras").predict(observation) == agent.predict(observation)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Embedding and SimpleRNN", "attention and normalisation", "Dense on rank 2"])
def test_xla_compiles_it_to_the_same_figures(name):
    histories = []
    for jit_compile in ("auto", False):
        keras.utils.set_random_seed(0)
        agent, environment = agent_of(name, jit_compile)
        histories.append(agent.fit(environment, **ITERATIONS).history)
    for figure in ("train/kl_divergence_loss", "train/value_loss"):
        assert histories[0][figure] == pytest.approx(histories[1][figure], rel=1e-2)


def adjusted_hue(images):
    """An operation for which TensorFlow has no derivative."""
    return tf.raw_ops.AdjustHue(images=images, delta=0.1)


def first_and(function):
    return lambda: stack((4,), layers.Dense(4, name="first"), layers.Lambda(function), layers.Dense(4))


def dense(**settings):
    return stack((4,), layers.Dense(4, **settings))


def two_outputs():
    inputs = keras.Input((4,))
    return keras.Model(inputs, [layers.Dense(2)(inputs), layers.Dense(2)(inputs)])


def token_and_numbers():
    inputs = keras.Input((4,))
    token = layers.Flatten()(layers.Embedding(5, 3)(inputs[:, 2:3]))
    return keras.Model(inputs, layers.Concatenate()([token, layers.Dense(3)(inputs[:, :2])]))


REFUSED = {
    "no derivative at all": (
        lambda: stack((2, 2, 3), layers.Dense(3), layers.Lambda(adjusted_hue), layers.Flatten()),
        "cannot be differentiated: .*AdjustHue",
    ),
    "argmax": (first_and(lambda rows: tf.one_hot(tf.argmax(rows, axis=-1), 4)), "derivative by .*first"),
    "round": (first_and(tf.round), "derivative by .*first"),
    "rows mixed": (first_and(lambda rows: rows - tf.reduce_mean(rows, axis=0)), "mixes rows"),
    "rows mixed, but not into the first": (
        first_and(lambda rows: tf.concat([rows[:1], rows[1:] + rows[:1]], axis=0)),
        "mixes rows",
    ),
    **{
        f"{part}_{kind}": (
            functools.partial(dense, **{f"{part}_{kind}": each}),
            rf"^\S*{name} .*have no {found}, which",
        )
        for part, kind, each, name, found in (
            ("kernel", "regularizer", "l2", "network must", "L2"),
            ("activity", "regularizer", "l1", "network must", "L1"),
            ("bias", "constraint", "non_neg", "network must", "NonNeg"),
        )
    },
    "noise": (first_and(lambda rows: rows + tf.random.normal(tf.shape(rows))), "draws random numbers"),
    "float64": (functools.partial(dense, dtype="float64"), "must learn in float32, and .*kernel is float64"),
    "two outputs": (two_outputs, "one vector of features for each observation, not a list"),
    "half embedded": (token_and_numbers, r"elements \[2, 3\] of the observation as whole numbers, .*normalize_observ"),
    "a layer": (lambda: layers.Dense(4), "must be a keras.Model, got <Dense"),
    "a function": (lambda: tf.identity, "must be a keras.Model, got <function"),
}


@pytest.mark.parametrize("which", ["network", "value_network"])
@pytest.mark.parametrize("name", REFUSED)
def test_a_network_that_could_not_learn_is_refused_when_the_agent_is_made(name, which):
    make, message = REFUSED[name]
    network = make()
    shape = network.input_shape[1:] if isinstance(network, keras.Model) else (4,)
    with pytest.raises((TypeError, ValueError), match=message) as raised:
        tf_trpo.TRPO.for_env(functools.partial(Rows, shape), **{which: network})
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["no derivative at all", "noise", "kernel_regularizer", "half embedded", "a layer"])
def test_an_encoder_refuses_the_same_networks(name):
    make, message = REFUSED[name]
    network = make()
    with pytest.raises((TypeError, ValueError), match=message):
        Encoder(getattr(network, "input_shape", (None, 4))[1:], 3, network=network)


def test_an_agent_composed_of_one_is_refused_before_the_first_step(monkeypatch):
    monkeypatch.setattr(Rows, "step", None)
    network, shape = REFUSED["no derivative at all"][0](), (2, 2, 3)
    encoder = Encoder(shape, 3, network=network, network_name=None)
    agent = tf_trpo.TRPO(Policy(encoder, Categorical(3)), ValueFunction(Encoder(shape, 1)))
    agent.compile(jit_compile=False)
    with pytest.raises(ValueError, match=r"^the agent cannot learn: .*AdjustHue") as raised:
        agent.fit(functools.partial(Rows, shape), **ITERATIONS)
    assert "\n" not in str(raised.value)


class Tokens(Rows):
    def __init__(self):
        super().__init__((1,))
        self.observation_space = gym.spaces.Box(0, 50, (1,), np.int64)

    def observe(self):
        return self.np_random.integers(0, 51, (1,))


def test_what_is_read_as_a_whole_number_only_is_not_normalised():
    """All 51 tokens are told apart."""
    networks = {which: stack((1,), layers.Embedding(51, 8), layers.Flatten()) for which in ("network", "value_network")}
    agent = tf_trpo.TRPO.for_env(Tokens, **networks, seed=0)
    assert agent.policy.encoder.normalization == agent.value_function.encoder.normalization == []
    assert len(np.unique(agent.policy.encoder.network(np.arange(51)[:, None]), axis=0)) == 51
    assert Encoder((1,), 3, network=networks["network"]).normalization == []


def adapted():
    """Statistics of numbers around 1000."""
    layer = layers.Normalization()
    layer.adapt(np.random.default_rng(0).normal(1000, 50, (200, 4)).astype(np.float32))
    return layer


def frozen(network):
    network.trainable = False
    return network


OWN_UNITS = {
    "statistics": lambda: stack((4,), adapted(), layers.Dense(8)),
    "given statistics": lambda: stack((4,), layers.Normalization(mean=1000.0, variance=2500.0), layers.Dense(8)),
    "frozen": lambda: frozen(dense()),
    "frozen inside": lambda: stack((4,), frozen(dense()), layers.Dense(8)),
}


@pytest.mark.parametrize("name", OWN_UNITS)
def test_numbers_that_a_network_expects_in_their_own_units_are_not_normalised(name, says):
    with says("^network has frozen weights or a Normalization layer, .* not normalised: observations;"):
        encoder = Encoder((4,), 3, network=OWN_UNITS[name]())
    assert encoder.normalization == []
    assert encoder.get_config()["normalize_observations"] == []
    # What the caller chose is kept.
    assert len(Encoder((4,), 3, network=OWN_UNITS[name](), normalize_observations=[""]).normalization) == 1


def test_what_a_trainable_layer_reads_is_normalised_next_to_frozen_weights(caplog):
    def network():
        inputs = {"image": keras.Input((6, 6, 3), name="image"), "speed": keras.Input((2,), name="speed")}
        seen = frozen(stack((6, 6, 3), layers.Conv2D(2, 3), layers.Flatten()))(inputs["image"])
        fresh = layers.Normalization()(inputs["speed"])
        return keras.Model(inputs, layers.Dense(4)(layers.Concatenate()([seen, fresh])))

    spec = {"image": PartSpec((6, 6, 3), "uint8", "image"), "speed": PartSpec((2,), "float32", "vector")}
    assert len(Encoder(spec, 3, network=network()).normalization) == 1
    adapter = stack((4,), layers.Dense(5), frozen(stack((5,), layers.Dense(8))))
    assert len(Encoder((4,), 3, network=adapter).normalization) == 1
    assert caplog.messages == []


def test_an_image_that_is_divided_by_255_twice_is_reported(says, caplog):
    def network(factor):
        return stack((6, 6, 3), layers.Rescaling(factor), layers.Conv2D(2, 3), layers.Flatten())

    image = PartSpec((6, 6, 3), "uint8", "image")
    with says("^network divides the image by 255 again"):
        Encoder(image, 3, network=network(1 / 255))
    caplog.clear()
    Encoder(image, 3, network=network(2.0))
    assert caplog.messages == []


class WithoutConfig(keras.Model):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def call(self, inputs):
        return self.layer(inputs)


def test_the_value_functions_of_costs_have_copies_of_the_network():
    """Statistics of a Normalization layer are copied, too."""
    make = functools.partial(make_value_functions, PolicySettings(), ValueSettings(), Rows((4,)).observation_space)
    network = OWN_UNITS["statistics"]()
    first, second = (made.encoder.network for made in make(2, network))
    assert first is network
    rows = np.random.default_rng(0).normal(1000, 50, (5, 4))
    np.testing.assert_array_equal(first(rows), second(rows))
    with pytest.raises(ValueError, match=r"^value_network cannot be copied, .*get_config") as raised:
        make(2, WithoutConfig(layers.Dense(4)))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("which", "settings", "message"),
    [
        (["network"], {"policy": PolicySettings(hidden_sizes=(9,))}, "^hidden_sizes is for the default network"),
        (["value_network"], {"value": ValueSettings((9,))}, "^value_hidden_sizes is for the default network"),
        (["network", "value_network"], {"policy": PolicySettings(activation="relu")}, "^activation is for the default"),
    ],
)
def test_settings_of_the_default_network_are_refused_next_to_another_one(which, settings, message):
    with pytest.raises(ValueError, match=message):
        tf_trpo.TRPO.for_env(Rows, **{name: stack((6, 4), layers.Flatten()) for name in which}, **settings)
