"""The preconditioner against dense Fisher matrices, and what it does to conjugate gradient and to a step."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_trpo.distributions import Categorical, Gaussian
from tf_trpo.estimation import Batch
from tf_trpo.models import Encoder, MirroredEncoder, Policy, mlp
from tf_trpo.numerics import Reflection
from tf_trpo.optimizers import NaturalDirection, Objective, TrustRegion, natural_direction
from tf_trpo.optimizers.preconditioner import sampled_fisher_preconditioner

N, DAMPING = 24, 0.1
MIRROR = Reflection((1, 0, 2), (1, 1, -1))


def make_policy(kind="gaussian", network=None, outputs=4):
    distribution = Categorical(outputs) if kind == "categorical" else Gaussian([-1.0, -1.0], [1.0, 1.0])
    network = mlp((3,), (5,), seed=1) if network is None else network
    encoder = Encoder((3,), distribution.num_outputs, network=network, output_gain=1.0, seed=2)
    if kind == "mirrored":
        encoder = MirroredEncoder(encoder, MIRROR, Reflection((1, 0), (1, 1)))
    return Policy(encoder, distribution)


def objective_of(policy, samples=N, padding=0):
    rng = np.random.default_rng(0)
    observations = tf.constant(rng.normal(size=(samples, 3)), tf.float32)
    actions = policy.act(observations, policy.action_distribution.noise([samples], tf.constant([0, 2])))
    weights = np.r_[np.zeros(padding), np.full(samples - padding, 1 / (samples - padding))].astype(np.float32)
    batch = Batch(observations, actions, tf.constant(rng.normal(size=samples), tf.float32), tf.constant(weights))
    return Objective(policy, batch, policy.flat_weights)


def dense(product, size):
    """The matrix of a product, column by column."""
    return (
        tf.function(lambda: tf.map_fn(product, tf.eye(size)), autograph=False)
        .get_concrete_function()()
        .numpy()
        .astype(np.float64)
    )


def estimate(objective, rank):
    """F', from the preconditioner."""
    size = objective.theta.shape[0]
    inverse = dense(sampled_fisher_preconditioner(objective, rank, DAMPING), size)
    np.testing.assert_allclose(inverse, inverse.T, atol=1e-4)
    assert np.linalg.eigvalsh(inverse + inverse.T)[0] > 0
    return np.linalg.inv(inverse) - DAMPING * np.eye(size)


def fisher(objective):
    return dense(objective.fisher_vector_product(), objective.theta.shape[0])


@pytest.mark.parametrize("kind", ["categorical", "mirrored"])
def test_of_all_states_it_is_the_exact_fisher_matrix_of_the_dense_layers(kind):
    objective = objective_of(make_policy(kind), padding=4)
    # The only weights that are not of a Dense layer come first: a Gaussian's log standard deviations.
    free = 2 if kind == "mirrored" else 0
    found, exact = estimate(objective, 4 * N), fisher(objective)
    np.testing.assert_allclose(found[free:, free:], exact[free:, free:], atol=2e-3 * np.abs(exact).max())
    np.testing.assert_allclose(found[:free, free:], 0, atol=1e-4)
    np.testing.assert_allclose(found[:free, :free], found[0, 0] * np.eye(free), atol=1e-4)
    assert not free or 0.2 < found[0, 0] < 20


def test_of_a_few_states_it_is_of_their_rank_and_an_estimate_of_the_whole():
    objective = objective_of(make_policy(), samples=400)
    exact = fisher(objective)[2:, 2:]
    few, many = (estimate(objective, rank)[2:, 2:] for rank in (21, 200))
    singular = np.linalg.svd(few)[1]
    assert singular[19] > 1e-5 > 1e-7 > singular[20]
    assert np.linalg.norm(many - exact) < 0.3 * np.linalg.norm(exact)
    assert np.linalg.norm(many - exact) < np.linalg.norm(few - exact)


def test_more_outputs_than_columns_are_mixed_at_random():
    objective = objective_of(make_policy("categorical", outputs=12), samples=40)
    found, exact = estimate(objective, 8 * 40), fisher(objective)
    assert np.linalg.norm(found - exact) < 0.2 * np.linalg.norm(exact)


def other_network():
    """A network of which the preconditioner knows the outer products of one layer only."""
    inputs, twice = keras.Input((3,)), keras.layers.Dense(3, "tanh")
    column = keras.layers.Reshape((3, 1))(inputs)
    features = [
        keras.layers.Flatten()(keras.layers.Conv1D(2, 2)(column)),
        keras.layers.Flatten()(keras.layers.Dense(2, name="of_matrices")(column)),
        twice(twice(inputs)),
        keras.layers.SimpleRNN(2)(column),
        keras.layers.Dense(2, "tanh", use_bias=False, name="known")(inputs),
    ]
    return keras.Model(inputs, keras.layers.Concatenate()(features))


def test_other_weights_have_their_mean_curvature_on_the_diagonal():
    policy = make_policy("categorical", other_network())
    known = [*policy.encoder.output_layer.weights, *policy.encoder.network.get_layer("known").weights]
    objective = objective_of(policy)
    found, exact = estimate(objective, 4 * N), fisher(objective)
    place = others = 0
    for variable in policy.trainable_variables:
        rows = slice(place, place := place + int(np.prod(variable.shape)))
        block = found[rows, rows]
        if any(variable is weight for weight in known):
            np.testing.assert_allclose(block, exact[rows, rows], atol=2e-3 * np.abs(exact).max())
        else:
            np.testing.assert_allclose(block, block[0, 0] * np.eye(len(block)), atol=1e-4)
            assert block[0, 0] > -1e-5
            others += 1
    assert (len(known), others) == (3, 9)


def test_the_mean_curvature_holds_where_all_actions_of_a_state_are_tried():
    """As a mean over 300 batches of 8 states and 4 actions, for the weights of a convolution."""
    inputs = keras.Input((3,))
    column = keras.layers.Reshape((3, 1))(inputs)
    convolution = keras.layers.Conv1D(2, 2, kernel_initializer=keras.initializers.GlorotUniform(seed=3))
    features = keras.layers.Flatten()(convolution(column))
    policy = make_policy("categorical", keras.Model(inputs, features))
    # With nearly equal probabilities, the scores of a state's actions would cancel in a sum.
    policy.encoder.output_layer.kernel.assign(0.2 * policy.encoder.output_layer.kernel)
    rng = np.random.default_rng(0)
    states = rng.normal(size=(300, 8, 3)).astype(np.float32)
    orders = rng.permuted(np.tile(np.arange(32), (300, 1)), axis=1)
    unit = tf.one_hot(0, len(policy.flat_weights))

    def curvature(given):
        observations, order = given
        rows, actions = tf.gather(observations, order // 4), order % 4
        log_prob = policy.action_distribution.log_prob(policy.distribution_parameters(rows), actions)
        objective = Objective(policy, Batch(rows, actions, tf.zeros(32), tf.exp(log_prob) / 8), policy.flat_weights)
        return 1 / sampled_fisher_preconditioner(objective, 4 * 32, DAMPING)(unit)[0] - DAMPING

    found = tf.function(
        lambda: tf.map_fn(curvature, (states, orders), fn_output_signature=tf.float32), autograph=False
    )()
    rows = tf.constant(states.reshape(-1, 3))
    count = len(rows)
    batch = Batch(rows, tf.zeros(count, tf.int32), tf.zeros(count), tf.fill(count, 1 / count))
    product = Objective(policy, batch, policy.flat_weights).fisher_vector_product()
    exact = np.mean([product(tf.one_hot(place, len(unit)))[place] for place in range(4)])
    assert np.mean(found) == pytest.approx(exact, rel=0.2)


def test_five_iterations_with_it_are_closer_to_the_exact_solution_than_fifteen_without():
    network = mlp((3,), (8, 8), seed=1)
    for layer in network.layers:
        layer.kernel.assign(2.0 * layer.kernel)
    objective = objective_of(make_policy(network=network), samples=128)
    gradient = objective.gradient()
    size = len(gradient)
    exact = np.linalg.solve(fisher(objective) + 0.01 * np.eye(size), np.float64(gradient))

    def cosine(iterations, rank):
        direction = NaturalDirection(iterations, cg_damping=0.01, preconditioner_rank=rank)
        found = np.float64(direction.solve(objective, gradient).solution)
        return found @ exact / np.linalg.norm(found) / np.linalg.norm(exact)

    assert cosine(15, 0) < 0.99
    assert cosine(5, 256) > max(0.99, cosine(15, 0))


def test_a_converged_step_compiled_by_xla_is_the_same_with_it(make_stepper):
    plain = TrustRegion(0.5, direction=NaturalDirection(60))
    other = dataclasses.replace(plain, direction=NaturalDirection(60, preconditioner_rank=64))
    for seed in range(3):
        step = make_stepper(plain).run(seed, padding=5)
        twin, again = (make_stepper(other, jit_compile=True).run(seed, padding=5) for _ in range(2))
        assert twin.outcome.accepted
        assert twin.kl <= plain.max_kl * (1 + 1e-6)
        assert twin.outcome.cg_iterations < step.outcome.cg_iterations
        assert np.linalg.norm(twin.theta - step.theta) < 0.01 * np.linalg.norm(step.change)
        np.testing.assert_array_equal(twin.theta, again.theta)
        assert twin.outcome == again.outcome


def test_it_needs_damping_and_a_static_number_of_samples():
    for zero in (0.0, 0, np.float32(0.0)):
        with pytest.raises(ValueError, match="cg_damping must be positive if there is a preconditioner, got"):
            NaturalDirection(cg_damping=zero, preconditioner_rank=8)
    objective = objective_of(make_policy())
    batch = Batch(*(tf.TensorSpec([None, *rows.shape[1:]], rows.dtype) for rows in objective.batch[:4]))
    with pytest.raises(ValueError, match="static number of samples in a batch"):
        tf.function(
            lambda batch: sampled_fisher_preconditioner(Objective(objective.policy, batch, objective.theta), 8, DAMPING)
        ).get_concrete_function(batch)


def steps_taken(objective, **settings):
    direction = NaturalDirection(cg_tolerance=0.0, **settings)
    return int(direction.solve(objective, objective.gradient()).iterations)


def test_it_is_the_default_of_a_wide_policy_of_dense_layers(monkeypatch):
    # 4 units of 3 inputs, an output layer of 2 and two standard deviations: 28 weights.
    objective = objective_of(make_policy(network=mlp((3,), (4,), seed=1)))
    assert objective.theta.shape[0] == 28
    assert steps_taken(objective) == 15
    monkeypatch.setattr(natural_direction, "_WIDE", 28)
    assert [steps_taken(objective), steps_taken(objective, cg_iterations=2)] == [5, 2]
    chosen, named = (
        NaturalDirection(preconditioner_rank=rank).solve(objective, objective.gradient()) for rank in (None, 384)
    )
    np.testing.assert_array_equal(chosen.solution, named.solution)
    assert steps_taken(objective, preconditioner_rank=0) == 15
    assert steps_taken(objective, cg_damping=0.0) == 15
    for place, name, value in (
        (objective, "sees_images", True),
        (objective, "chunk_size", 383),
        (natural_direction, "_MOST_OUTPUTS", 1),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(place, name, value)
            assert steps_taken(objective) == 15, name
    assert steps_taken(objective) == 5


@pytest.mark.parametrize("damping", [1e-6, tf.constant(1e-6, tf.float64)])
def test_with_little_damping_it_stays_positive_definite(damping):
    objective = objective_of(make_policy(network=mlp((3,), (16,), seed=1)), samples=64)
    inverse = dense(sampled_fisher_preconditioner(objective, 64, damping), objective.theta.shape[0])
    assert np.linalg.eigvalsh(inverse + inverse.T)[0] > 0


@pytest.mark.parametrize("std", [0.05, 0.01])
def test_with_a_small_std_five_iterations_gain_at_least_what_fifteen_gain_without(std):
    """The gain is that of a step of a given KL; observations are those of a random walk."""
    rng = np.random.default_rng(1)
    walk = np.cumsum(rng.normal(size=(2048, 3)), axis=0)
    observations = tf.constant((walk - walk.mean(axis=0)) / walk.std(axis=0), tf.float32)
    gaussian = Gaussian([-1.0], [1.0], initial_std=std)
    policy = Policy(Encoder((3,), 1, network=mlp((3,), (64, 64), seed=1), output_gain=1.0, seed=2), gaussian)
    actions = policy.act(observations, gaussian.noise([2048], tf.constant([0, 2])))
    advantages, weights = tf.constant(rng.normal(size=2048), tf.float32), tf.fill([2048], 1 / 2048)
    objective = Objective(policy, Batch(observations, actions, advantages, weights), policy.flat_weights)
    gradient, product = objective.gradient(), objective.fisher_vector_product()

    def gain(iterations, rank):
        found = NaturalDirection(iterations, preconditioner_rank=rank).solve(objective, gradient)
        assert found.iterations == iterations
        solution, image = (np.float64(vector) for vector in (found.solution, product(found.solution)))
        return np.float64(gradient) @ solution / np.sqrt(solution @ image)

    assert gain(5, 384) > gain(15, 0)


def test_a_policy_mostly_of_other_weights_has_none_by_default(monkeypatch):
    monkeypatch.setattr(natural_direction, "_WIDE", 1)
    objective = objective_of(make_policy("categorical", other_network()))
    assert steps_taken(objective) == 15
    assert steps_taken(objective, preconditioner_rank=8) == 5
