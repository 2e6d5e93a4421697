"""Figures 1 to 5 of the lecture. Each module has `compute()` and `draw(data)`."""

FIGURES = {
    1: "natural_gradient",
    2: "taylor_approximation",
    3: "trust_region_method",
    4: "conjugate_gradient",
    5: "lower_bound",
}
"""Number of a figure -> its module. Figure 6 shows trainings: `python -m benchmarks learning-curves`."""
