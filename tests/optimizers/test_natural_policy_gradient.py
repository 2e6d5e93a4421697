"""The natural policy gradient against a dense Fisher matrix."""

import numpy as np
import pytest

from tf_trpo.optimizers import NaturalDirection, NaturalPolicyGradient

MANY = NaturalDirection(cg_iterations=60)


def taken(stepper, seed):
    """(step, its change of the weights, F, g)."""
    stepper.restart(seed)
    batch = stepper.batch(seed, padding=5)
    fisher, gradient = stepper.fisher(batch), stepper.gradient(batch)
    step = stepper.step(batch)
    return step, step.theta.astype(np.float64) - step.old_theta, fisher, gradient


@pytest.mark.parametrize("seed", range(3))
def test_with_a_learning_rate_the_step_is_alpha_times_the_solution(kind, make_stepper, seed):
    stepper = make_stepper(NaturalPolicyGradient(0.3, direction=NaturalDirection(60, cg_damping=0.2)), kind)
    _, change, fisher, gradient = taken(stepper, seed)
    exact = 0.3 * np.linalg.solve(fisher + 0.2 * np.eye(len(gradient)), gradient)
    assert np.linalg.norm(change - exact) < 0.005 * np.linalg.norm(exact)
    # A step along the gradient would not pass.
    along = gradient * np.linalg.norm(exact) / np.linalg.norm(gradient)
    assert np.linalg.norm(along - exact) > 0.1 * np.linalg.norm(exact)


@pytest.mark.parametrize("seed", range(3))
def test_without_one_the_quadratic_model_of_the_kl_is_natural_max_kl(kind, make_stepper, seed):
    stepper = make_stepper(NaturalPolicyGradient(natural_max_kl=0.03, direction=MANY), kind)
    _, change, fisher, gradient = taken(stepper, seed)
    assert 0.5 * change @ fisher @ change == pytest.approx(0.03, rel=2e-3)
    exact = np.linalg.solve(fisher + 0.1 * np.eye(len(gradient)), gradient)
    assert change @ exact == pytest.approx(np.linalg.norm(change) * np.linalg.norm(exact), rel=1e-5)


def test_nothing_is_searched_so_the_kl_may_be_above_the_limit(make_stepper):
    stepper = make_stepper(NaturalPolicyGradient(natural_max_kl=0.5))
    steps = [stepper.run(seed) for seed in range(8)]
    assert max(step.kl for step in steps) > 0.5
    assert all(step.outcome.accepted for step in steps)
