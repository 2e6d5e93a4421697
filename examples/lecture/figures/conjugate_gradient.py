"""Figure 4: conjugate gradient and steepest descent on ill-conditioned quadratics."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from examples.lecture import steepest_descent
from tf_trpo.figures.style import BLACK, BLUE, VERMILION
from tf_trpo.numerics import conjugate_gradient

PLANE_CONDITION = 20.0
DIMENSIONS = 100
CONDITIONS = (100.0, 1000.0)
ITERATIONS = np.arange(0, 61, 5)
"""Numbers of iterations at which errors are measured."""


class ErrorCurves(NamedTuple):
    """Errors |x_k - x| / |x_0 - x| in the norm of A for the numbers k in `ITERATIONS`, each [I].

    Attributes:
      steepest: errors of steepest descent.
      conjugate: errors of conjugate gradient.
      steepest_bound: ((kappa - 1) / (kappa + 1))^k.
      conjugate_bound: 2 ((sqrt kappa - 1) / (sqrt kappa + 1))^k.
    """

    steepest: NDArray[np.float64]
    conjugate: NDArray[np.float64]
    steepest_bound: NDArray[np.float64]
    conjugate_bound: NDArray[np.float64]


class ConjugateGradientData(NamedTuple):
    """Paths in the plane and errors in many dimensions.

    Attributes:
      matrix: A in the plane, [2, 2].
      solution: solution of A x = b in the plane, [2].
      steepest_path: iterates in the plane, [n, 2].
      conjugate_path: iterates in the plane, [3, 2].
      errors: curves for each condition number kappa.
    """

    matrix: NDArray[np.float64]
    solution: NDArray[np.float64]
    steepest_path: NDArray[np.float64]
    conjugate_path: NDArray[np.float64]
    errors: dict[float, ErrorCurves]


def compute() -> ConjugateGradientData:
    """Run both methods in the plane, from the worst start, and in many dimensions from 0."""
    angle = np.pi / 9
    basis = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    plane = basis @ np.diag([1.0, PLANE_CONDITION]) @ basis.T
    # Components of the error are inversely proportional to the eigenvalues: the slowest possible start.
    solution = -basis @ np.array([PLANE_CONDITION, 1.0]) / PLANE_CONDITION
    return ConjugateGradientData(
        matrix=plane,
        solution=solution,
        steepest_path=steepest_descent(plane, plane @ solution, np.zeros(2), max_iterations=40),
        conjugate_path=conjugate_gradient_iterates(plane, plane @ solution, np.arange(3)),
        errors={condition: error_curves(condition) for condition in CONDITIONS},
    )


def error_curves(condition: float) -> ErrorCurves:
    """Run both methods on one system, and compute the bounds of their errors (Shewchuk 1994, equations 28 and 52)."""
    matrix, b = ill_conditioned_system(condition)
    steepest = steepest_descent(matrix, b, np.zeros_like(b), max_iterations=int(ITERATIONS[-1]))[ITERATIONS]
    return ErrorCurves(
        steepest=relative_errors(matrix, b, steepest),
        conjugate=relative_errors(matrix, b, conjugate_gradient_iterates(matrix, b, ITERATIONS)),
        steepest_bound=_rate(condition) ** ITERATIONS,
        conjugate_bound=2 * _rate(float(np.sqrt(condition))) ** ITERATIONS,
    )


def ill_conditioned_system(condition: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Make A with logarithmically spaced eigenvalues from 1 to the condition number, and a random b."""
    rng = np.random.default_rng(0)
    basis, _ = np.linalg.qr(rng.normal(size=(DIMENSIONS, DIMENSIONS)))
    matrix = basis @ np.diag(np.geomspace(1.0, condition, DIMENSIONS)) @ basis.T
    return (matrix + matrix.T) / 2, rng.normal(size=DIMENSIONS)


def conjugate_gradient_iterates(
    matrix: NDArray[np.float64], b: NDArray[np.float64], iterations: NDArray[np.int_]
) -> NDArray[np.float64]:
    """Compute the iterates x_k [I, P] from x_0 = 0 by the library's solver with each maximum number of iterations."""
    tensor, right_side = tf.constant(matrix), tf.constant(b)

    def product(vector: tf.Tensor) -> tf.Tensor:
        return tf.linalg.matvec(tensor, vector)

    def iterate(k: int) -> NDArray[np.float64]:
        if k == 0:
            return np.zeros_like(b)
        return conjugate_gradient(product, right_side, max_iterations=k, tolerance=0.0).solution.numpy()

    return np.array([iterate(int(k)) for k in iterations])


def relative_errors(
    matrix: NDArray[np.float64], b: NDArray[np.float64], iterates: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Compute |x_k - x| / |x_0 - x| in the norm of A, [k]."""
    errors = iterates - np.linalg.solve(matrix, b)
    norms = np.sqrt(np.einsum("ki,ij,kj->k", errors, matrix, errors))
    return np.asarray(norms / norms[0], np.float64)


def _rate(condition: float) -> NDArray[np.float64]:
    return np.array((condition - 1) / (condition + 1))


def draw(data: ConjugateGradientData) -> Figure:
    """Draw the paths on the left and the errors on the right."""
    figure = Figure(figsize=(11.5, 4.6))
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.1])
    _plane_panel(left, data)
    _error_panel(right, data)
    return figure


def _plane_panel(axes: Axes, data: ConjugateGradientData) -> None:
    points = np.concatenate([data.steepest_path, data.solution[None]])
    low, high = points.min(axis=0) - 0.25, points.max(axis=0) + 0.25
    x, y = np.linspace(low[0], high[0], 200), np.linspace(low[1], high[1], 200)
    offset = np.stack(np.meshgrid(x, y), axis=-1) - data.solution
    energy = 0.5 * np.einsum("yxi,ij,yxj->yx", offset, data.matrix, offset)
    axes.contour(x, y, energy, levels=np.geomspace(0.003, energy.max(), 14), colors="#c4c4c4", linewidths=0.7)
    steps = len(data.steepest_path) - 1
    axes.plot(*data.steepest_path.T, "-o", color=VERMILION, markersize=3, linewidth=1.2, label="steepest descent")
    axes.plot(*data.conjugate_path.T, "--s", color=BLUE, markersize=5, label="conjugate gradient: 2 iterations")
    axes.plot(*data.solution, "*", color=BLACK, markersize=13, label="solution")
    axes.set_title(rf"In the plane, $\kappa$ = {PLANE_CONDITION:.0f}: {steps} steps of steepest descent")
    axes.set(xlabel=r"$x_1$", ylabel=r"$x_2$")
    axes.set_aspect("equal")
    axes.legend(loc="upper left")


def _error_panel(axes: Axes, data: ConjugateGradientData) -> None:
    for (condition, curves), line, width in zip(data.errors.items(), ("-", "--"), (0.7, 1.1), strict=True):
        label = rf"$\kappa$ = {condition:.0f}"
        axes.semilogy(ITERATIONS, curves.steepest, line, color=VERMILION, label=f"steepest descent, {label}")
        axes.semilogy(ITERATIONS, curves.conjugate, line, color=BLUE, label=f"conjugate gradient, {label}")
        axes.semilogy(ITERATIONS, curves.steepest_bound, ":", color=VERMILION, linewidth=width)
        axes.semilogy(ITERATIONS, curves.conjugate_bound, ":", color=BLUE, linewidth=width)
    axes.semilogy([], [], ":", color=BLACK, linewidth=1, label="upper bounds")
    axes.set(xlabel="iterations", ylabel="error in the norm of A, relative", xlim=(0, ITERATIONS[-1]), ylim=(1e-8, 4))
    axes.set_title(f"In {DIMENSIONS} dimensions")
    axes.grid(color="#e5e5e5", linewidth=0.7)
    axes.legend(loc="lower left")
