"""Figures 1 to 5 of the lecture (docs/lecture.md), drawn from the exact theory.

`python -m examples.lecture_figures` draws them. Each file has `compute()` and `draw(data)`.
"""

from __future__ import annotations

FIGURES = {
    1: "natural_gradient",
    2: "taylor_approximation",
    3: "trust_region_method",
    4: "conjugate_gradient",
    5: "lower_bound",
}
"""Files by the numbers of their figures. Figure 6 shows trainings: `python -m benchmarks learning-curves`."""
