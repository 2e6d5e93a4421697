"""The data of each figure, computed once."""

import functools
import importlib

import pytest

from examples.lecture.figures import FIGURES


@functools.cache
def figure_and_data(number):
    module = importlib.import_module(f"examples.lecture.figures.{FIGURES[number]}")
    return module, module.compute()


@pytest.fixture(scope="session")
def figure_of():
    """number -> (module of the figure, its data)."""
    return figure_and_data
