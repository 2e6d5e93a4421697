"""The data of each figure, computed once."""

import functools
import importlib
from pathlib import Path

import pytest

from tf_trpo.figures import FIGURES

RESULTS = Path(__file__).parents[2] / "docs" / "results"


@functools.cache
def figure_and_data(number):
    entry = FIGURES[number]
    module = importlib.import_module(f"tf_trpo.figures.{entry.module}")
    return module, module.compute(*([RESULTS] if entry.needs_results else []))


@pytest.fixture(scope="session")
def figure_of():
    """number -> (module of the figure, its data)."""
    return figure_and_data
