"""Every figure of the list is written twice, not empty, and the same whenever it is drawn."""

import xml.etree.ElementTree as ElementTree

import matplotlib.image
import pytest

from tf_trpo.figures import FIGURES, draw_figures
from tf_trpo.figures.style import save


@pytest.mark.parametrize("number", [pytest.param(n, marks=pytest.mark.slow) if n in (4, 5) else n for n in FIGURES])
def test_png_and_svg_are_written_and_show_something(number, figure_of, tmp_path):
    module, data = figure_of(number)
    png, svg = save(lambda: data, module.draw, tmp_path / "figure")
    assert sorted(tmp_path.iterdir()) == [png, svg]
    pixels = matplotlib.image.imread(png)
    assert min(pixels.shape[:2]) > 400
    assert (pixels[..., :3].min(axis=-1) < 0.5).mean() > 0.005
    drawn = [element for element in ElementTree.parse(svg).iter() if element.tag.endswith(("path", "use"))]
    assert len(drawn) > 50


@pytest.mark.parametrize("number", FIGURES)
def test_every_panel_has_a_title_and_its_axes_have_names(number, figure_of):
    module, data = figure_of(number)
    figure = module.draw(data)
    for axes in figure.axes:
        assert axes.get_title() or axes.get_title(loc="left")
        assert axes.get_xlabel() or not axes.get_subplotspec().is_last_row()
    assert figure.axes[0].get_ylabel()


def test_the_same_figure_is_the_same_bytes(tmp_path):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    first, second = (draw_figures([2], tmp_path / name, tmp_path) for name in ("first", "second"))
    assert [path.name for path in first] == ["2_taylor_approximation.png", "2_taylor_approximation.svg"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
