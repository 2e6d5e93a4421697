"""Every figure is drawn, is not empty, and is the same whenever it is written."""

import io
import xml.etree.ElementTree as ElementTree

import matplotlib.image
import pytest

from examples.lecture.__main__ import Figures, main
from examples.lecture.figures import FIGURES
from tf_trpo.figures.style import styled, write


@pytest.mark.parametrize("number", [pytest.param(n, marks=pytest.mark.slow) if n in (4, 5) else n for n in FIGURES])
def test_png_and_svg_show_something(number, figure_of):
    module, data = figure_of(number)
    png, svg = io.BytesIO(), io.BytesIO()
    with styled():
        figure = module.draw(data)
        write(figure, png, "png")
        write(figure, svg, "svg")
    pixels = matplotlib.image.imread(io.BytesIO(png.getvalue()))
    assert min(pixels.shape[:2]) > 400
    assert (pixels[..., :3].min(axis=-1) < 0.5).mean() > 0.005
    elements = ElementTree.fromstring(svg.getvalue()).iter()
    assert len([element for element in elements if element.tag.endswith(("path", "use"))]) > 50


@pytest.mark.parametrize("number", FIGURES)
def test_every_panel_has_a_title_and_its_axes_have_names(number, figure_of):
    module, data = figure_of(number)
    figure = module.draw(data)
    for axes in figure.axes:
        assert axes.get_title() or axes.get_title(loc="left")
        assert axes.get_xlabel() or not axes.get_subplotspec().is_last_row()
    assert figure.axes[0].get_ylabel()


def test_the_same_figure_is_the_same_bytes(tmp_path):
    first, second = (main(Figures(only=(2,), output_dir=tmp_path / name)) for name in ("first", "second"))
    assert [path.name for path in first] == ["2_taylor_approximation.png", "2_taylor_approximation.svg"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
