"""docs/tensorboard.md: its pictures exist, and its example runs."""

import re
from pathlib import Path

import matplotlib.image

from tf_trpo.callbacks.dashboards import METRICS
from tf_trpo.experiment.settings import RunSettings

PAGE = Path(__file__).parents[2] / "docs" / "tensorboard.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_the_pictures_exist_and_are_small():
    pictures = re.findall(r"!\[.+\]\((.+\.png)\)", TEXT)
    assert len(pictures) == 2
    for picture in pictures:
        path = PAGE.parent / picture
        assert path.stat().st_size < 300_000
        assert min(matplotlib.image.imread(path).shape[:2]) > 400


def test_its_settings_and_metrics_are_right():
    assert f"`--histogram-every`, {RunSettings().histogram_every:,} steps by default" in TEXT
    assert RunSettings().video_every == 0
    assert "final/mean_reward" in METRICS
