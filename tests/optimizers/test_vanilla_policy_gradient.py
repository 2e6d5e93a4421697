"""The vanilla policy gradient against NumPy."""

import numpy as np
import pytest

from tf_trpo.optimizers import VanillaPolicyGradient


@pytest.mark.parametrize("seed", range(3))
def test_by_sgd_the_step_is_alpha_g(kind, make_stepper, seed):
    stepper = make_stepper(VanillaPolicyGradient("sgd", 0.05), kind)
    stepper.restart(seed)
    batch = stepper.batch(seed, padding=5)
    gradient = stepper.gradient(batch)
    step = stepper.step(batch)
    np.testing.assert_allclose(step.theta - step.old_theta, 0.05 * gradient, rtol=1e-3, atol=1e-6)


def test_the_default_is_adam_at_one_hundredth(make_stepper):
    stepper = make_stepper(VanillaPolicyGradient())
    stepper.restart(0)
    batch = stepper.batch(0)
    gradient = stepper.gradient(batch)
    step = stepper.step(batch)
    np.testing.assert_allclose(step.theta - step.old_theta, 0.01 * np.sign(gradient), rtol=0.05)


def test_by_adam_three_steps_are_those_of_its_definition(make_stepper):
    stepper = make_stepper(VanillaPolicyGradient("adam", 0.03))
    stepper.restart(0)
    first = second = 0.0
    for t in range(1, 4):
        batch = stepper.batch(t)
        gradient = stepper.gradient(batch)
        step = stepper.step(batch)
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        expected = 0.03 * (first / (1 - 0.9**t)) / (np.sqrt(second / (1 - 0.999**t)) + 1e-7)
        np.testing.assert_allclose(step.theta - step.old_theta, expected, rtol=2e-3, atol=1e-5)


@pytest.mark.slow
def test_the_same_in_xla(make_stepper):
    plain, compiled = (
        make_stepper(VanillaPolicyGradient("adam", 0.03), jit_compile=jit).run(0) for jit in (False, True)
    )
    np.testing.assert_allclose(compiled.theta, plain.theta, rtol=1e-4, atol=1e-5)
    assert compiled.outcome.kl == pytest.approx(plain.outcome.kl, rel=1e-3)


def test_a_larger_step_has_a_larger_kl_and_nothing_limits_it(make_stepper):
    kls = [make_stepper(VanillaPolicyGradient("sgd", rate)).run(0).kl for rate in (0.01, 0.1, 1.0)]
    assert kls[1] == pytest.approx(100 * kls[0], rel=0.2)
    assert kls[2] > 0.1
