"""The natural policy gradient, and Newton's step of the KL penalty, against a dense Fisher matrix."""

import numpy as np
import pytest

from tf_trpo.optimizers import KLPenalty, NaturalDirection, NaturalPolicyGradient

MANY = NaturalDirection(cg_iterations=60)


def taken(stepper, seed):
    """(The change of the weights, F, g) of one step."""
    batch, fisher, gradient = stepper.derivatives(seed, padding=5)
    return stepper.step(batch).change, fisher, gradient


@pytest.mark.parametrize(
    ("optimizer", "kind", "rate", "damping"),
    [
        (NaturalPolicyGradient(0.3, direction=NaturalDirection(60, cg_damping=0.2)), "fixed-std", 0.3, 0.2),
        # Where the slope of g's - C/2 s'Fs is 0, for C = 4.
        (KLPenalty("fixed", penalty_coefficient=4.0, direction=MANY), "categorical", 1 / 4, 0.1),
    ],
)
def test_with_a_learning_rate_or_a_penalty_the_step_is_alpha_times_the_solution(
    optimizer, kind, rate, damping, make_stepper
):
    for seed in range(3):
        change, fisher, gradient = taken(make_stepper(optimizer, kind), seed)
        exact = rate * np.linalg.solve(fisher + damping * np.eye(len(gradient)), gradient)
        assert np.linalg.norm(change - exact) < 0.005 * np.linalg.norm(exact)
        # A step along the gradient would not pass.
        along = gradient * np.linalg.norm(exact) / np.linalg.norm(gradient)
        assert np.linalg.norm(along - exact) > 0.1 * np.linalg.norm(exact)


def test_without_one_the_quadratic_model_of_the_kl_is_natural_max_kl(make_stepper):
    stepper = make_stepper(NaturalPolicyGradient(natural_max_kl=0.03, direction=MANY), "categorical")
    for seed in range(3):
        change, fisher, gradient = taken(stepper, seed)
        assert 0.5 * change @ fisher @ change == pytest.approx(0.03, rel=2e-3)
        exact = np.linalg.solve(fisher + 0.1 * np.eye(len(gradient)), gradient)
        assert change @ exact == pytest.approx(np.linalg.norm(change) * np.linalg.norm(exact), rel=1e-5)
