"""Every distribution acts the same in LiteRT, where policies act."""

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from tf_trpo.distributions import Beta, Categorical, Gaussian, MultiCategorical, Product
from tf_trpo.rollouts.actor import litert_flatbuffer

ROWS = 5
DISTRIBUTIONS = {
    "gaussian": Gaussian([[0.0], [-np.inf]], [[10.0], [3.0]], state_dependent_std=True),
    "beta": Beta([-2.0, 990.0], [2.0, 1000.0]),
    "categorical": Categorical(4, 7),
    "even numbers of choices": MultiCategorical([[2], [2]], action_dtype="int8", space="MultiBinary"),
    "other numbers of choices": MultiCategorical([3, 1, 4]),
    "product": Product({"a": Beta([0.0], [1.0]), "b": Product((Categorical(3), MultiCategorical([2, 3])))}),
}


def run(function, **inputs):
    """Convert a function of named arrays, and run it in LiteRT."""
    specs = {name: tf.TensorSpec(value.shape, value.dtype) for name, value in inputs.items()}
    concrete = tf.function(function, autograph=False).get_concrete_function(**specs)
    content = litert_flatbuffer(tf.lite.TFLiteConverter.from_concrete_functions([concrete], trackable_obj=tf.Module()))
    interpreter = Interpreter(model_content=content)
    return interpreter.get_signature_runner()(**inputs)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS.values(), ids=DISTRIBUTIONS)
def test_samples_modes_and_the_environments_actions(distribution):
    def act(outputs, noise):
        parameters = distribution.parameters(outputs)
        sampled, mode = distribution.sample(parameters, noise), distribution.mode(parameters)
        given = tf.nest.flatten(distribution.to_environment(sampled))
        named = distribution.named_parameters(parameters)
        return {"sampled": sampled, "mode": mode, **{f"given{i}": part for i, part in enumerate(given)}, **named}

    outputs = np.random.default_rng(0).normal(size=(ROWS, distribution.num_outputs)).astype(np.float32)
    noise = distribution.noise([ROWS], tf.constant([1, 2])).numpy()
    expected = act(tf.constant(outputs), tf.constant(noise))
    found = run(act, outputs=outputs, noise=noise)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == value.dtype.as_numpy_dtype
        np.testing.assert_allclose(found[name], value, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("dtype", [np.int8, np.float32])
@pytest.mark.parametrize("distribution", [Categorical(4), MultiCategorical([3, 1]), MultiCategorical([2, 2])])
def test_masks(distribution, dtype):
    def act(logits, mask):
        masked = distribution.masked(logits, mask)
        return {"masked": masked, "mode": distribution.mode(masked)}

    logits = np.random.default_rng(0).normal(size=(ROWS, 4)).astype(np.float32)
    mask = (np.random.default_rng(1).random((ROWS, 4)) < 0.4).astype(dtype)
    expected, found = act(tf.constant(logits), tf.constant(mask)), run(act, logits=logits, mask=mask)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)
