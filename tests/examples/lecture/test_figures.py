"""The lecture's figures: their data are right, and every figure is drawn, not empty, and reproducible."""

import functools
import importlib
import io
import xml.etree.ElementTree as ElementTree

import matplotlib.image
import numpy as np
import pytest
import scipy.optimize

from examples.lecture import TrustRegionStatus
from examples.lecture.__main__ import Figures, main
from examples.lecture.figures import FIGURES
from examples.lecture.figures.conjugate_gradient import CONDITIONS, ITERATIONS, PLANE_CONDITION, ill_conditioned_system
from examples.lecture.figures.lower_bound import ridge
from examples.lecture.figures.natural_gradient import END_SIGMA, STARTS
from examples.lecture.figures.taylor_approximation import CENTER, LARGEST_ORDER, TOLERANCE
from examples.lecture.figures.trust_region_method import MINIMUM, START, valley, valley_gradient, valley_hessian
from tf_trpo.figures.style import styled, write
from tf_trpo.theory import lower_bound


def module_of(number):
    return importlib.import_module(f"examples.lecture.figures.{FIGURES[number]}")


@functools.cache
def data_of(number):
    return module_of(number).compute()


@functools.cache
def drawn(number):
    with styled():
        return module_of(number).draw(data_of(number))


@functools.cache
def written(number, kind):
    """The bytes of a figure's file."""
    file = io.BytesIO()
    with styled():
        write(drawn(number), file, kind)
    return file.getvalue()


def test_natural_paths_of_the_return_reach_the_best_gain_and_vanilla_paths_do_not():
    data = data_of(1)
    gradients = data.problem.gradient(data.points)
    for arrows in (data.vanilla_arrows, data.natural_arrows):
        np.testing.assert_allclose(np.linalg.norm(arrows, axis=1), 1)
        assert (np.sum(arrows * gradients, axis=1) > 0).all()
    np.testing.assert_allclose(np.sum(data.vanilla_arrows * gradients, axis=1), np.linalg.norm(gradients, axis=1))
    assert np.sum(data.vanilla_arrows * data.natural_arrows, axis=1).min() < 0.2
    for natural, vanilla, start in zip(data.natural_paths, data.vanilla_paths, STARTS, strict=True):
        for path in (natural, vanilla):
            np.testing.assert_array_equal(path[0], start)
            assert path[-1, 1] == pytest.approx(END_SIGMA)
            assert (np.diff(data.problem.objective(path)) > 0).all()
        assert abs(natural[-1, 0] - data.optimal_gain) < 0.005
        assert abs(vanilla[-1, 0] - data.optimal_gain) > 0.1


def test_polynomials_are_within_the_tolerance_up_to_the_radius_and_pass_it_there():
    data = data_of(2)
    assert data.polynomials.shape == (LARGEST_ORDER + 1, len(data.x))
    np.testing.assert_allclose(data.function, np.exp(-(data.x**2)))
    distance = np.abs(data.x - CENTER)
    for order, (values, radius) in enumerate(zip(data.polynomials, data.trusted_radii, strict=True)):
        fitted = np.polynomial.Polynomial.fit(data.x, values, order)
        np.testing.assert_allclose(fitted(data.x), values, atol=1e-9 * np.abs(values).max())
        error = np.abs(values - data.function)
        assert error[distance <= radius].max() <= TOLERANCE
        assert error[(distance > radius) & (distance < radius + 0.05)].max() > TOLERANCE
    # Higher orders are trusted further, with exceptions: around 1, order 5 is worse than order 4.
    assert (data.trusted_radii > 0).all()
    assert data.trusted_radii[-1] > 2 * data.trusted_radii[2]
    assert data.trusted_radii[5] < data.trusted_radii[4]


def test_derivatives_of_the_valley_are_those_of_finite_differences_and_it_is_not_convex_at_the_start():
    for point in np.random.default_rng(0).normal(size=(10, 2)):
        expected = scipy.optimize.approx_fprime(point, valley, 1e-7)
        np.testing.assert_allclose(valley_gradient(point), expected, rtol=1e-4, atol=1e-4)
        columns = scipy.optimize.approx_fprime(point, valley_gradient, 1e-7)
        np.testing.assert_allclose(valley_hessian(point), columns, rtol=1e-4, atol=1e-4)
    assert np.linalg.eigvalsh(valley_hessian(np.array(START)))[0] < -1


def test_every_solver_finds_the_minimum_and_has_steps_refused_and_steepest_descent_takes_far_more():
    data = data_of(3)
    for name, result in data.results.items():
        assert result.status == TrustRegionStatus.MINIMUM, name
        np.testing.assert_allclose(result.x, MINIMUM, atol=1e-5)
        assert not result.accepted.all()
        assert (np.diff(data.errors[name]) <= 1e-14).all()
        assert data.errors[name][-1] < 1e-12
    steps = {name: len(result.radii) for name, result in data.results.items()}
    assert steps["steepest descent"] > 20 * max(steps["exact"], steps["dogleg"])


def test_conjugate_gradient_needs_two_iterations_in_the_plane_and_steepest_descent_more_than_forty():
    data = data_of(4)
    assert np.linalg.cond(data.matrix) == pytest.approx(PLANE_CONDITION)
    np.testing.assert_allclose(data.conjugate_path[-1], data.solution, atol=1e-12)
    assert len(data.conjugate_path) == 3
    np.testing.assert_allclose(data.conjugate_path[1], data.steepest_path[1])
    assert len(data.steepest_path) == 41
    # The start is the slowest one.
    errors = data.steepest_path - data.solution
    assert np.linalg.norm(errors[-1]) > 1e-3
    norms = np.sqrt(np.einsum("ki,ij,kj->k", errors, data.matrix, errors))
    np.testing.assert_allclose(norms[1:] / norms[:-1], (PLANE_CONDITION - 1) / (PLANE_CONDITION + 1), rtol=1e-6)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_errors_fall_and_stay_below_their_bounds(condition):
    data = data_of(4)
    curves = data.errors[condition]
    assert np.linalg.cond(ill_conditioned_system(condition)[0]) == pytest.approx(condition)
    for errors, bounds in ((curves.steepest, curves.steepest_bound), (curves.conjugate, curves.conjugate_bound)):
        assert errors.shape == bounds.shape == ITERATIONS.shape
        assert errors[0] == 1
        assert (np.diff(errors) < 0).all()
        assert (errors <= bounds).all()
    assert curves.conjugate[-1] < 0.02 * curves.steepest[-1]


def test_bound_and_returns_agree_with_their_marks():
    data = data_of(5)
    inside, improved = data.alpha <= data.guaranteed_until, data.alpha <= data.improved_until
    start = data.expected_returns[0]
    assert (data.lower_bounds[inside] >= start - 1e-12).all()
    assert (data.lower_bounds[~inside] < start).all()
    assert (data.expected_returns[improved] >= start - 1e-12).all()
    assert (data.expected_returns[~improved] < start).all()
    assert 0 < data.best_alpha < data.guaranteed_until < data.improved_until < 1
    # The local approximation does not show it.
    assert (np.diff(data.approximations) > 0).all()
    # The best point of the line is the bound's maximum.
    mdp, old_policy, target = ridge()
    mixed = (1 - data.best_alpha) * old_policy + data.best_alpha * target
    assert lower_bound(mdp.evaluate(old_policy), mixed) >= data.lower_bounds.max() - 1e-12


@pytest.mark.parametrize("number", [pytest.param(n, marks=pytest.mark.slow) if n in (4, 5) else n for n in FIGURES])
def test_png_and_svg_show_something(number):
    pixels = matplotlib.image.imread(io.BytesIO(written(number, "png")))
    assert min(pixels.shape[:2]) > 400
    assert (pixels[..., :3].min(axis=-1) < 0.5).mean() > 0.005
    elements = ElementTree.fromstring(written(number, "svg")).iter()
    assert len([element for element in elements if element.tag.endswith(("path", "use"))]) > 50


@pytest.mark.parametrize("number", FIGURES)
def test_every_panel_has_a_title_and_its_axes_have_names(number):
    figure = drawn(number)
    for axes in figure.axes:
        assert axes.get_title() or axes.get_title(loc="left")
        assert axes.get_xlabel() or not axes.get_subplotspec().is_last_row()
    assert figure.axes[0].get_ylabel()


def test_a_figure_is_reproducible_to_the_byte(tmp_path):
    files = main(Figures(only=(2,), output_dir=tmp_path / "figures"))
    assert [path.name for path in files] == ["2_taylor_approximation.png", "2_taylor_approximation.svg"]
    assert [path.read_bytes() for path in files] == [written(2, "png"), written(2, "svg")]
