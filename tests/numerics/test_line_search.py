"""The line search accepts the first candidate that improves within all limits, or changes nothing."""

import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tf_trpo.numerics import Limit, LineSearchStatus, backtracking_line_search

MAX_KL = 0.01
JUST_ABOVE = np.nextafter(MAX_KL, np.inf)
IMPROVEMENTS = [1.0, 1e-300, 0.0, -0.0, -1e-300, -1.0, math.nan, math.inf, -math.inf]
KLS = [0.0, MAX_KL / 2, MAX_KL, JUST_ABOVE, 1.0, math.nan, math.inf, -math.inf]
# Acceptable outcomes are rare among independent draws, so that a search usually backtracks.
OUTCOMES = st.lists(st.tuples(st.sampled_from(IMPROVEMENTS), st.sampled_from(KLS)), min_size=1, max_size=6)


class Script:
    """An `evaluate` that returns the given outcomes in order and records the candidates."""

    def __init__(self, outcomes):
        self.outcomes = outcomes
        self.candidates = []

    def __call__(self, candidate):
        improvement, kl = self.outcomes[len(self.candidates)]
        self.candidates.append(candidate.numpy())
        return tf.constant(improvement, tf.float64), tf.constant(kl, tf.float64)


def verdict(improvement, kl):
    if not (math.isfinite(improvement) and math.isfinite(kl)):
        return LineSearchStatus.NOT_FINITE
    if not improvement > 0:
        return LineSearchStatus.NO_IMPROVEMENT
    return LineSearchStatus.ACCEPTED if kl <= MAX_KL else LineSearchStatus.KL_ABOVE_LIMIT


def first_accepted(verdicts):
    return next((j for j, status in enumerate(verdicts) if status == LineSearchStatus.ACCEPTED), None)


def never_called(_):
    pytest.fail("evaluate was called")


@given(outcomes=OUTCOMES, seed=st.integers(0, 10_000), ratio=st.sampled_from([0.3, 0.5, 0.8]), double=st.booleans())
def test_the_first_acceptable_candidate_is_taken_or_none(outcomes, seed, ratio, double):
    dtype = np.float64 if double else np.float32
    theta, step = np.random.default_rng(seed).normal(size=(2, 3)).astype(dtype)
    script = Script(outcomes)
    result = backtracking_line_search(
        script, tf.constant(theta), tf.constant(step), max_kl=MAX_KL, ratio=ratio, max_backtracks=len(outcomes) - 1
    )
    verdicts = [verdict(*outcome) for outcome in outcomes]
    j = first_accepted(verdicts)
    last = len(outcomes) - 1 if j is None else j
    assert result.status == verdicts[last]
    assert result.backtracks == last
    assert len(script.candidates) == last + 1
    expected = theta if j is None else script.candidates[j]
    assert result.theta.numpy().tobytes() == expected.tobytes()
    np.testing.assert_array_equal([result.improvement, result.kl], outcomes[last])


@given(seed=st.integers(0, 10_000), ratio=st.floats(0.1, 0.95), double=st.booleans())
def test_candidates_shrink_geometrically_from_the_full_step(seed, ratio, double):
    dtype = np.float64 if double else np.float32
    theta, step = np.random.default_rng(seed).normal(size=(2, 4)).astype(dtype)
    script = Script([(-1.0, 0.0)] * 6)
    backtracking_line_search(
        script, tf.constant(theta), tf.constant(step), max_kl=MAX_KL, ratio=ratio, max_backtracks=5
    )
    np.testing.assert_array_equal(script.candidates[0], theta + step)
    expected = [theta + ratio**j * step for j in range(6)]
    np.testing.assert_allclose(script.candidates, expected, rtol=0, atol=20 * np.finfo(dtype).eps)


@tf.function(jit_compile=True)
def search_quadratic(theta, step, slope, bend, curvature):
    """Improvement slope t - bend t^2 and KL curvature t^2 along the step."""

    def evaluate(candidate):
        t = tf.reduce_sum((candidate - theta) * step) / tf.reduce_sum(step * step)
        return slope * t - bend * t * t, curvature * t * t

    return backtracking_line_search(evaluate, theta, step, max_kl=MAX_KL, ratio=0.5, max_backtracks=5)


@given(
    seed=st.integers(0, 10_000),
    slope=st.sampled_from([-1.0, 0.03, 0.3, 1.1, 3.0]),
    curvature=st.sampled_from([0.001, 0.03, 0.3, 3.0, 1e3, math.nan]),
)
def test_compiled_search_agrees_with_brute_force(seed, slope, curvature):
    theta, step = np.random.default_rng(seed).normal(size=(2, 3))
    theta[0] = -0.0
    result = search_quadratic(*(tf.constant(x, tf.float64) for x in (theta, step, slope, 1.0, curvature)))
    lengths = [0.5**j for j in range(6)]
    verdicts = [verdict(slope * t - t * t, curvature * t * t) for t in lengths]
    j = first_accepted(verdicts)
    if j is None:
        assert result.status == verdicts[-1]
        assert result.theta.numpy().tobytes() == theta.tobytes()
    else:
        assert result.status == LineSearchStatus.ACCEPTED
        assert result.backtracks == j
        assert result.improvement > 0
        assert result.kl <= MAX_KL
        np.testing.assert_allclose(result.theta, theta + lengths[j] * step, rtol=1e-12)


# The nearest float32 is below 0.01 and above 0.1, so a limit that is rounded to float32 would be noticed.
@pytest.mark.parametrize("max_kl", [0.01, 0.1])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_the_limit_itself_is_accepted_and_the_next_float_is_not(max_kl, jit_compile):
    @tf.function(jit_compile=jit_compile)
    def search(improvement, kl):
        return backtracking_line_search(lambda _: (improvement, kl), tf.zeros([2]), tf.ones([2]), max_kl=max_kl)

    smallest_gain = tf.constant(1e-300, tf.float64)
    assert search(smallest_gain, tf.constant(max_kl, tf.float64)).status == LineSearchStatus.ACCEPTED
    just_above = tf.constant(np.nextafter(max_kl, np.inf))
    assert search(smallest_gain, just_above).status == LineSearchStatus.KL_ABOVE_LIMIT


@pytest.mark.parametrize("improvement", IMPROVEMENTS)
def test_refused_search_says_why_and_keeps_every_bit(improvement):
    theta = np.array([-0.0, 1.0, 1e-30, -3.3], np.float32)
    for kl in KLS:
        script = Script([(improvement, kl)])
        result = backtracking_line_search(script, tf.constant(theta), tf.ones(4), max_kl=MAX_KL, max_backtracks=0)
        assert result.status == verdict(improvement, kl)
        accepted = result.status == LineSearchStatus.ACCEPTED
        assert result.theta.numpy().tobytes() == (script.candidates[0] if accepted else theta).tobytes()


@pytest.mark.parametrize("step", [[0.0, -0.0], [math.nan, 1.0], [1.0, math.inf], [-math.inf, 0.0]])
def test_step_without_a_direction_is_not_searched(step):
    theta = np.array([-0.0, 2.5], np.float32)
    result = backtracking_line_search(never_called, tf.constant(theta), tf.constant(step), max_kl=MAX_KL)
    assert result.status == LineSearchStatus.NO_DIRECTION
    assert result.theta.numpy().tobytes() == theta.tobytes()


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_a_step_whose_square_overflows_is_searched(size):
    script = Script([(1.0, 0.0)])
    result = backtracking_line_search(script, tf.zeros([2]), tf.constant([0.0, size]), max_kl=MAX_KL)
    assert result.status == LineSearchStatus.ACCEPTED
    np.testing.assert_array_equal(result.theta, np.array([0.0, size], np.float32))


def test_compiled_search_without_a_direction_keeps_every_bit():
    theta = np.array([-0.0, 1.0, -2.0])
    result = search_quadratic(*(tf.constant(x, tf.float64) for x in (theta, np.zeros(3), 1.0, 0.0, 0.0)))
    assert result.status == LineSearchStatus.NO_DIRECTION
    assert result.theta.numpy().tobytes() == theta.tobytes()


@pytest.mark.parametrize(
    "setting",
    [
        {"max_kl": 0.0},
        {"max_kl": -0.01},
        {"max_kl": math.nan},
        {"ratio": 0.0},
        {"ratio": 1.0},
        {"ratio": math.nan},
        {"max_backtracks": -1},
    ],
)
def test_a_setting_outside_its_range_is_named(setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        backtracking_line_search(never_called, tf.zeros([2]), tf.ones([2]), **{"max_kl": MAX_KL, **setting})


@tf.function(jit_compile=True, autograph=False)
def search_with_limits(slope, curvatures, largest):
    """The KL, a cost and another figure are curvature t^2 along a step of length t."""

    def evaluate(candidate):
        kl, *costs = tf.unstack(curvatures * candidate[0] ** 2)
        return slope * candidate[0] - candidate[0] ** 2, kl, *costs, candidate[0]

    reasons = LineSearchStatus.COST_ABOVE_LIMIT, LineSearchStatus.ANCHOR_KL_ABOVE_LIMIT
    limits = [Limit(limit, reason) for limit, reason in zip(tf.unstack(largest), reasons, strict=True)]
    start = tf.zeros([1], tf.float64)
    return backtracking_line_search(
        evaluate, start, start + 1.0, max_kl=MAX_KL, limits=limits, ratio=0.5, max_backtracks=4, figures=(start[0],)
    )


@given(
    slope=st.sampled_from([-1.0, 0.3, 1.1, 3.0]),
    curvatures=st.tuples(*[st.sampled_from([-1.0, 0.001, 0.3, 3.0, 1e3, math.nan])] * 3),
    largest=st.tuples(*[st.sampled_from([-1.0, 0.0, 0.01, 1.0])] * 2),
)
def test_an_accepted_step_is_within_all_limits_and_the_first_exceeded_limit_is_named(slope, curvatures, largest):
    result = search_with_limits(*(tf.constant(x, tf.float64) for x in (slope, curvatures, largest)))
    names = ("KL_ABOVE_LIMIT", "COST_ABOVE_LIMIT", "ANCHOR_KL_ABOVE_LIMIT")

    def status(t):
        figures = [curvature * t**2 for curvature in curvatures]
        if not all(map(math.isfinite, figures)):
            return LineSearchStatus.NOT_FINITE
        if slope * t - t**2 <= 0:
            return LineSearchStatus.NO_IMPROVEMENT
        above = [name for name, figure, limit in zip(names, figures, (MAX_KL, *largest), strict=True) if figure > limit]
        return LineSearchStatus[above[0]] if above else LineSearchStatus.ACCEPTED

    verdicts = [status(0.5**j) for j in range(5)]
    j = first_accepted(verdicts)
    assert result.status == (verdicts[-1] if j is None else LineSearchStatus.ACCEPTED)
    assert result.theta[0] == (0.0 if j is None else 0.5**j)
    assert result.figures[0] == result.theta[0]
