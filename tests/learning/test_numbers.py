"""Numbers that are inputs of an update: the bits of the numbers themselves, and one program for all of them."""

import numpy as np
import pytest
import tensorflow as tf

from tf_trpo.estimation import Batch
from tf_trpo.learning import UpdateSettings
from tf_trpo.learning.numbers import Numbers
from tf_trpo.optimizers import (
    AdaptiveRadius,
    Backtracking,
    ClippedSurrogate,
    EntropyBonus,
    FirstOrder,
    KLPenalty,
    NaturalDirection,
    NaturalPolicyGradient,
    TrustRegion,
)

# It folds constants, and not numbers that are inputs.
pytestmark = pytest.mark.grappler
DIRECTION = NaturalDirection(cg_iterations=2, cg_damping=0.03, cg_tolerance=0.001)
ALGORITHMS = {
    "trust region": TrustRegion(0.7, entropy=EntropyBonus(0.02), direction=DIRECTION, search=Backtracking(0.3)),
    "preconditioned": TrustRegion(0.7, direction=NaturalDirection(2, 0.3, preconditioner_rank=8)),
    "on the largest KL, by a schedule": TrustRegion(0.7, final_max_kl=0.01, constraint="max", direction=DIRECTION),
    "that adapts": TrustRegion(0.02, radius=AdaptiveRadius(0.003, 0.03, expand_factor=1.7), direction=DIRECTION),
    "natural": NaturalPolicyGradient(0.3, direction=DIRECTION),
    "penalty": KLPenalty(penalty_coefficient=0.7, target_kl=0.3, direction=DIRECTION),
    "theory": KLPenalty("theory", direction=DIRECTION),
    "first order": KLPenalty("fixed", 3.7, penalty_solver="first-order", first_order=FirstOrder(1, 8)),
    "clipped": ClippedSurrogate(0.3, 1, 8, 0.01, 0.001, 0.02, entropy=EntropyBonus(0.02)),
}


def test_numbers_are_floats_of_this_package_but_for_0_and_1_and_what_shapes_depend_on():
    one = TrustRegion(0.02, direction=NaturalDirection(cg_damping=0.0, curvature_fraction=0.5))
    numbers = Numbers(UpdateSettings(gamma=1.0), one)
    np.testing.assert_array_equal(numbers.variable, [0.95, 0.02, 1e-6, 0.8, 0.95])
    update, algorithm = numbers.read()
    assert (algorithm.direction.cg_damping, algorithm.direction.curvature_fraction, update.gamma) == (0.0, 0.5, 1.0)
    assert algorithm.search.max_backtracks == one.search.max_backtracks

    def structure(**settings):
        return Numbers(UpdateSettings(), TrustRegion(direction=NaturalDirection(**settings))).structure

    assert structure() == structure(cg_damping=0.3)
    different = [
        {},
        {"cg_damping": 0.0},
        {"curvature_fraction": 0.5},
        {"curvature_fraction": 0.6},
        {"cg_iterations": 9},
    ]
    assert len({structure(**each) for each in different}) == len(different)


def test_settings_of_others_stay_as_they_are():
    class Own(TrustRegion):
        pass

    # Nor does such an algorithm get another discount than a number.
    numbers = Numbers(UpdateSettings(gamma=0.9), Own(0.02))
    assert numbers.read() == [UpdateSettings(gamma=0.9), Own(0.02)]
    assert numbers.variable.shape == (0,)

    class OwnSearch(Backtracking):
        pass

    inner = TrustRegion(0.02, search=OwnSearch(0.3))
    assert Numbers(UpdateSettings(), inner).read() == [UpdateSettings(), inner]


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_step_by_them_has_the_bits_of_one_by_constants(name, make_agent):
    random = np.random.default_rng(0)
    observations, advantages = random.normal(size=(16, 4)), random.normal(size=16)
    actions, weights = tf.constant(random.integers(0, 2, 16), tf.int32), tf.fill([16], 1 / 16)
    batch = Batch(tf.constant(observations, tf.float32), actions, tf.constant(advantages, tf.float32), weights)
    distribution = make_agent("CartPole-v1").policy.action_distribution
    settings = [UpdateSettings(gamma=0.37), ALGORITHMS[name].settled(distribution)]

    def stepped(read):
        policy = make_agent("CartPole-v1").policy
        state = ALGORITHMS[name].make_state(policy)

        @tf.function(autograph=False)
        def step():
            update, optimizer = read()
            outcome = optimizer.step(policy, batch, state, progress=0.3, gamma=update.gamma)
            return [tf.cast(figure, tf.float64) for figure in outcome if figure is not None]

        return [np.array(tf.convert_to_tensor(each)) for each in [*step(), policy.flat_weights, *state.variables]]

    # Instead of dividing by a constant, such as 1 - gamma or the damping, TensorFlow multiplies by its reciprocal.
    rounding = {"theory": 1e-6, "preconditioned": 1e-4}.get(name, 0)
    for number, constant in zip(stepped(Numbers(*settings).read), stepped(lambda: settings), strict=True):
        np.testing.assert_allclose(number, constant, rtol=rounding, atol=rounding / 100)
