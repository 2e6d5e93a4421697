"""The joint distribution of parts: sums over the parts, nests for the environment, and what Keras saves."""

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tf_trpo.distributions import (
    ActionDistribution,
    Beta,
    Categorical,
    Gaussian,
    MultiCategorical,
    Product,
    make_action_distribution,
)
from tf_trpo.models import Encoder, Policy, PolicySettings
from tf_trpo.numerics import Reflection

SPACE = gym.spaces.Dict(
    {
        "move": gym.spaces.Box(np.float64([[-0.1], [0.0]]), np.float64([[0.1], [1000.0]]), dtype=np.float64),
        "jump": gym.spaces.Discrete(3, start=-1),
        "tools": gym.spaces.Tuple(
            (
                gym.spaces.MultiDiscrete([2, 4]),
                gym.spaces.MultiBinary(2),
                gym.spaces.Dict({"turn": gym.spaces.Box(-2, 2, ())}),
            )
        ),
    }
)


def make(space=SPACE, **settings):
    return make_action_distribution(space, PolicySettings(**settings))


def leaves(distribution):
    for part in distribution.parts:
        yield from leaves(part) if isinstance(part, Product) else [part]


def normals(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def test_outputs_and_parameters_are_those_of_the_parts_in_the_order_of_their_names():
    product = make()
    kinds = [Categorical, Gaussian, MultiCategorical, MultiCategorical, Gaussian]
    assert [type(leaf) for leaf in leaves(product)] == kinds
    assert product.num_outputs == 3 + 2 + 6 + 4 + 1
    outputs = tf.constant(normals(5, 16), tf.float32)
    parameters = product.parameters(outputs).numpy()
    assert parameters.shape == (5, 3 + 4 + 6 + 4 + 2)
    np.testing.assert_array_equal(parameters[:, :3], outputs[:, :3])
    np.testing.assert_array_equal(parameters[:, 3:7], list(leaves(product))[1].parameters(outputs[:, 3:5]))


def test_everything_is_a_sum_over_the_parts_by_tfp():
    parts = {
        "a": Gaussian([-1.0, -1.0], [1.0, 2.0], state_dependent_std=True),
        "b": MultiCategorical([2, 3]),
        "c": Categorical(3),
        "d": Beta([0.0], [1.0]),
    }
    product, ends = Product(parts), np.cumsum([4, 5, 3])
    p, q, u = (np.abs(normals(6, 14, seed=seed)) + 1.1 for seed in range(3))
    actions = product.sample(tf.constant(p, tf.float32), product.noise([6], tf.constant([1, 2])))
    assert (actions.shape, actions.dtype) == ((6, 6), tf.float32)
    split = [[tf.constant(part) for part in np.split(values, ends, axis=1)] for values in (p, q, u)]
    own = [actions[:, :2], tf.cast(actions[:, 2:4], tf.int32), tf.cast(actions[:, 4], tf.int32), actions[:, 5:]]
    own = [tf.cast(action, tf.float64) if action.dtype.is_floating else action for action in own]
    each = list(zip(parts.values(), *split, own, strict=True))
    both, wide = (tf.constant(p), tf.constant(q)), tf.cast(actions, tf.float64)
    total = sum(part.distribution(of).log_prob(action) for part, of, _, _, action in each)
    np.testing.assert_allclose(product.log_prob(both[0], wide), total, rtol=1e-9)
    np.testing.assert_allclose(product.distribution(both[0]).log_prob(wide), total, rtol=1e-9)
    np.testing.assert_allclose(product.kl(*both), sum(part.kl(of, to) for part, of, to, _, _ in each), rtol=1e-9)
    np.testing.assert_allclose(product.entropy(both[0]), sum(part.entropy(of) for part, of, *_ in each), rtol=1e-9)
    images = tf.concat([part.metric_product(of, by) for part, of, _, by, _ in each], axis=1)
    np.testing.assert_array_equal(product.metric_product(both[0], tf.constant(u)), images)
    modes = [np.reshape(part.mode(of), [6, -1]) for part, of, *_ in each]
    np.testing.assert_array_equal(product.mode(both[0]), np.concatenate(modes, axis=1))


def test_parts_have_noise_of_their_own():
    product = Product((Gaussian([-1.0], [1.0]), Gaussian([-1.0], [1.0])))
    noise = product.noise([20_000], tf.constant([1, 2])).numpy()
    assert abs(np.corrcoef(noise.T)[0, 1]) < 4 / np.sqrt(20_000)


def random_space(rng, depth=2):
    kind = rng.integers(5 if depth == 0 else 7)
    shape = tuple(rng.integers(1, 4, rng.integers(1, 3)).tolist())
    if kind == 0:
        return gym.spaces.Discrete(int(rng.integers(1, 6)), start=int(rng.integers(-3, 4)))
    if kind == 1:
        return gym.spaces.MultiDiscrete(rng.integers(1, 5, shape), start=rng.integers(-3, 4, shape))
    if kind == 2:
        return gym.spaces.MultiBinary(shape)
    if kind == 3:
        low = int(rng.integers(-128, 1))
        return gym.spaces.Box(low, low + int(rng.integers(128)), shape, np.int8)
    if kind == 4:
        dtype, shape = rng.choice([np.float16, np.float32, np.float64]), shape[: rng.integers(3)]
        low = rng.choice([-1000.0, -0.1, 0.0, 0.3], shape)
        high = low + rng.choice([0.2, 1.0, 2000.0, np.inf], shape)
        return gym.spaces.Box(np.asarray(low, dtype), np.asarray(high, dtype), dtype=dtype)
    parts = [random_space(rng, depth - 1) for _ in range(rng.integers(1, 4))]
    return gym.spaces.Tuple(parts) if kind == 5 else gym.spaces.Dict(dict(zip("cab", parts, strict=False)))


@settings(max_examples=20)
@given(st.integers(0, 10**6).map(lambda seed: random_space(np.random.default_rng(seed))), st.just("gaussian"))
@example(SPACE, "gaussian")
@example(SPACE, "beta")
def test_actions_lie_in_any_space_and_figures_are_finite(space, kind):
    distribution = make(space, distribution=kind)
    assert distribution.difference(space) is None
    outputs = tf.constant(3 * normals(30, distribution.num_outputs), tf.float32)
    parameters = distribution.parameters(outputs)
    with np.errstate(over="ignore"):
        actions = distribution.sample(parameters, distribution.noise([30], tf.constant([1, 2])))
        nest, flat = distribution.environment_actions(actions.numpy()), actions.numpy()
        in_time = distribution.environment_actions(flat.reshape(5, 6, *flat.shape[1:]))
        exported = tf.nest.map_structure(lambda tensor: tensor.numpy(), distribution.to_environment(actions))
    tf.nest.map_structure(
        lambda one, other: np.testing.assert_array_equal(one.reshape(other.shape), other), in_time, nest
    )
    for given_nest in (nest, exported):
        for row in range(30):
            assert space.contains(tf.nest.map_structure(lambda array, row=row: np.asarray(array[row]), given_nest))
    wide = tf.cast(parameters, tf.float64)
    float_actions = tf.cast(actions, tf.float64) if actions.dtype.is_floating else actions
    assert np.isfinite(distribution.log_prob(wide, float_actions)).all()
    np.testing.assert_allclose(distribution.kl(wide, wide), np.zeros(30), atol=1e-12)
    vectors = tf.constant(normals(30, wide.shape[1], seed=1))
    # The Fisher matrix is symmetric and positive semi-definite.
    others = tf.constant(normals(30, wide.shape[1], seed=2))
    image, other_image = distribution.metric_product(wide, vectors), distribution.metric_product(wide, others)
    np.testing.assert_allclose(
        tf.reduce_sum(others * image, 1), tf.reduce_sum(vectors * other_image, 1), rtol=1e-6, atol=1e-9
    )
    assert (tf.reduce_sum(vectors * image, 1).numpy() > -1e-9).all()


def test_free_weights_and_schedules_of_the_parts_are_the_products():
    product = make(initial_std=0.5, final_std=0.125)
    assert product.is_scheduled
    assert not make().is_scheduled
    assert (len(product.weights), len(product.trainable_weights)) == (2, 0)
    assert len(make().trainable_weights) == 2
    product.follow_schedule(0.5)
    parameters = product.parameters(tf.zeros([2, product.num_outputs]))
    figures = product.figures(parameters)
    assert sorted(figures) == ["move/std", "tools/2/turn/std"]
    for std in figures.values():
        np.testing.assert_allclose(std, [0.25, 0.25], rtol=1e-6)
    names = ["jump/logits", "move/log_std", "move/mean", "tools/0/logits", "tools/1/logits"]
    named = product.named_parameters(parameters)
    assert sorted(named) == [*names, "tools/2/turn/log_std", "tools/2/turn/mean"]
    assert named["move/mean"].shape == (2, 2)


def test_keras_saves_and_loads_it(tmp_path):
    policy = Policy(Encoder((3,), 16, seed=0), make())
    for i, weight in enumerate(policy.weights):
        weight.assign(tf.random.stateless_uniform(weight.shape, [i, 0], 0.5, 1.0))
    policy.save(tmp_path / "policy.keras")
    loaded = keras.saving.load_model(tmp_path / "policy.keras")
    observations = tf.constant(normals(4, 3), tf.float32)
    np.testing.assert_array_equal(
        policy.distribution_parameters(observations), loaded.distribution_parameters(observations)
    )
    assert loaded.action_distribution.describe_actions() == policy.action_distribution.describe_actions()
    assert loaded.action_distribution.difference(SPACE) is None
    assert [weight.path.split("/")[-1] for weight in loaded.weights] == [
        weight.path.split("/")[-1] for weight in policy.weights
    ]


class Seeded(ActionDistribution):
    def distribution(self, parameters):
        raise NotImplementedError


def test_impossible_parts_are_refused():
    with pytest.raises(ValueError, match="0: the noise of a part must be float32"):
        Product((Seeded(2),))
    with pytest.raises(ValueError, match="a product needs parts"):
        Product({})
    with pytest.raises(TypeError, match="arm must be an ActionDistribution"):
        Product({"arm": 3})


def test_there_is_no_mirror_and_no_mask():
    product = make()
    assert product.mask_size is None
    with pytest.raises(ValueError, match="actions of several parts have no mirror"):
        product.mirrored(Reflection((0,), (1,)))
    with pytest.raises(ValueError, match="not those of Product"):
        product.masked(tf.zeros([1, 19]), tf.zeros([1, 3]))
