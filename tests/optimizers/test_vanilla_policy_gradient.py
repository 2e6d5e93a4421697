"""The vanilla policy gradient against NumPy."""

import numpy as np

from tf_trpo.optimizers import VanillaPolicyGradient


def test_by_sgd_the_step_is_alpha_g_and_nothing_limits_its_kl(make_stepper):
    stepper = make_stepper(VanillaPolicyGradient("sgd", 2.0))
    for seed in range(3):
        stepper.restart(seed)
        batch = stepper.batch(seed, padding=5)
        gradient = stepper.gradient(batch)
        step = stepper.step(batch)
        np.testing.assert_allclose(step.change, 2.0 * gradient, rtol=1e-3, atol=1e-5)
        assert step.kl > 0.01


def test_by_default_three_steps_are_those_of_adam_at_one_hundredth(make_stepper):
    stepper = make_stepper(VanillaPolicyGradient())
    stepper.restart(0)
    first = second = 0.0
    for t in range(1, 4):
        batch = stepper.batch(t)
        gradient = stepper.gradient(batch)
        step = stepper.step(batch)
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        expected = 0.01 * (first / (1 - 0.9**t)) / (np.sqrt(second / (1 - 0.999**t)) + 1e-7)
        np.testing.assert_allclose(step.change, expected, rtol=2e-3, atol=1e-5)
