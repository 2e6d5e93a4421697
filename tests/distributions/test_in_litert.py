"""Every distribution acts the same in LiteRT, where policies act."""

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from tf_trpo.distributions import Beta, Categorical, Gaussian, MultiCategorical, Product
from tf_trpo.rollouts.conversion import litert_flatbuffer

ROWS, RANDOM = 5, np.random.default_rng(0)
MASKED = Categorical(4), MultiCategorical([3, 1]), MultiCategorical([2, 2])
DISTRIBUTIONS = {
    "gaussian": Gaussian([[0.0], [-np.inf]], [[10.0], [3.0]], state_dependent_std=True),
    "beta": Beta([-2.0, 990.0], [2.0, 1000.0]),
    "categorical": Categorical(4, 7),
    "even": MultiCategorical([[2], [2]], action_dtype="int8", space="MultiBinary"),
    "ragged": MultiCategorical([3, 1, 4]),
    "product": Product({"a": Beta([0.0], [1.0]), "b": Product((Categorical(3), MultiCategorical([2, 3])))}),
}


def run(function, **inputs):
    """Convert a function of named arrays, and run it in LiteRT."""
    specs = {name: tf.TensorSpec(value.shape, value.dtype) for name, value in inputs.items()}
    concrete = tf.function(function, autograph=False).get_concrete_function(**specs)
    content = litert_flatbuffer(tf.lite.TFLiteConverter.from_concrete_functions([concrete], trackable_obj=tf.Module()))
    interpreter = Interpreter(model_content=content)
    return interpreter.get_signature_runner()(**inputs)


def test_samples_modes_and_the_environments_actions():
    def act(**inputs):
        results = {}
        for name, distribution in DISTRIBUTIONS.items():
            parameters = distribution.parameters(inputs[f"{name}_outputs"])
            sampled = distribution.sample(parameters, inputs[f"{name}_noise"])
            own = {"sampled": sampled, "mode": distribution.mode(parameters)}
            own |= dict(enumerate(tf.nest.flatten(distribution.to_environment(sampled))))
            own |= distribution.named_parameters(parameters)
            results |= {f"{name}_{key}": value for key, value in own.items()}
        return results

    inputs = {}
    for name, distribution in DISTRIBUTIONS.items():
        inputs[f"{name}_outputs"] = RANDOM.normal(size=(ROWS, distribution.num_outputs)).astype(np.float32)
        inputs[f"{name}_noise"] = distribution.noise([ROWS], tf.constant([1, 2])).numpy()
    expected, found = act(**tf.nest.map_structure(tf.constant, inputs)), run(act, **inputs)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == value.dtype.as_numpy_dtype
        np.testing.assert_allclose(found[name], value, rtol=2e-5, atol=2e-5)


def test_masks():
    def act(logits, **masks):
        masked = {
            f"{i}_{dtype}": distribution.masked(logits, mask)
            for i, distribution in enumerate(MASKED)
            for dtype, mask in masks.items()
        }
        return masked | {f"mode_{name}": MASKED[int(name[0])].mode(values) for name, values in masked.items()}

    logits = np.random.default_rng(0).normal(size=(ROWS, 4)).astype(np.float32)
    mask = np.random.default_rng(1).random((ROWS, 4)) < 0.4
    masks = {"int8": mask.astype(np.int8), "float32": mask.astype(np.float32)}
    expected, found = act(tf.constant(logits), **masks), run(act, logits=logits, **masks)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)
