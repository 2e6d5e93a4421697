"""TensorBoard with real runs, and a report, opened in a real browser: they show what was written."""

import csv
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from tf_trpo.figures.charts import CHARTS

pytestmark = pytest.mark.slow

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")
FLAGS += ("--disable-component-update", "--disable-sync", "--no-sandbox")
SCRIPTS = Path(__file__).parents[2] / "scripts"
SMALL = ["--total-steps", "600", "--num-steps", "100", "--hidden-sizes", "8", "--value-hidden-sizes", "8"]
SMALL += ["--no-jit-compile", "--value-epochs", "1", "--eval-every", "300", "--eval-episodes", "2"]
SMALL += ["--histogram-every", "200", "--video-every", "300", "--preset", "none"]


def script(name, *arguments):
    command = [sys.executable, *map(str, (SCRIPTS / f"{name}.py", *arguments))]
    subprocess.run(command, check=True, timeout=300, capture_output=True)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs with different max_kl."""
    folder = tmp_path_factory.mktemp("runs")
    for name, max_kl in (("one", "0.015"), ("two", "0.025")):
        script("train", "--run-dir", folder / name, "--max-kl", max_kl, *SMALL)
    return folder


def served(logdir, *options):
    """The address of a TensorBoard server that answers."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(logdir), "--port", "0", *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        found = re.search(r"at (http://localhost:\d+)/", line)
        if found:
            return process, found.group(1)
    raise AssertionError("TensorBoard ended before it served anything")


@pytest.fixture(scope="module")
def tensorboard(runs):
    process, address = served(runs)
    yield address
    process.terminate()
    process.communicate(timeout=30)


@pytest.fixture(scope="module")
def browser():
    if BROWSER is None:
        pytest.skip("chromium, chromium-browser or google-chrome is not in PATH: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=BROWSER, args=list(FLAGS))
        yield opened
        opened.close()


@pytest.fixture
def opened(browser, tensorboard):
    """opened(dashboard, what): the elements of a selector, once there are some."""
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    page.set_default_timeout(60_000)

    def go(dashboard, what):
        page.goto(f"{tensorboard}/#{dashboard}")
        elements = page.locator(what)
        elements.first.wait_for(state="attached")
        return elements

    yield go
    page.close()


def until(condition, seconds=60):
    """The condition's first true value: TensorBoard fills its elements one after the other."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value or time.monotonic() > deadline:
            return value
        time.sleep(0.2)


def test_custom_scalars_open_on_the_charts_of_learning_and_all_have_lines(opened):
    cards = opened("custom_scalars", "tf-custom-scalar-multi-line-chart-card")
    assert until(lambda: cards.count() == 6)
    lines = "vz-line-chart2 .render-area path[d]"
    for card in cards.all():
        card.scroll_into_view_if_needed()
        drawn = until(lambda card=card: [path for path in card.locator(lines).all() if "L" in path.get_attribute("d")])
        assert drawn
    for title in CHARTS["Learning"]:
        assert cards.get_by_text(title, exact=True).first.is_visible(), title


def test_hparams_compare_the_runs_by_settings_and_metrics(opened):
    cells = opened("hparams", "vaadin-grid-cell-content")

    def texts():
        return [text.strip() for text in cells.all_inner_texts() if text.strip()]

    assert until(lambda: {"0.015000", "0.025000"} <= set(texts())), texts()
    header = texts()[: texts().index("explained variance") + 1]
    assert header[2:] == [
        *("algorithm", "env", "max_kl", "seed", "total_steps"),
        *("return of the trained agent", "return of the last evaluation", "return of training's last episodes"),
        *("KL of the last step", "explained variance"),
    ]
    # Two trials, each with its id, five settings and five metrics.
    assert until(lambda: len(texts()) == len(header) + 2 * 11)


def test_histograms_show_weights_and_actions(opened):
    opened("histograms", "vz-histogram-timeseries svg .histogram path[d]")
    shown = opened("histograms", "vz-histogram-timeseries")
    # Two runs: the actions, and a kernel and a bias of each of two layers of both networks.
    assert until(lambda: shown.count() >= 2 + 2 * 4)


def test_text_shows_the_settings_and_the_versions(opened):
    cells = opened("text", "tf-text-loader td")
    texts = until(lambda: cells.all_inner_texts())
    assert texts[texts.index("max_kl") + 1] in ("0.015", "0.025")
    assert texts[texts.index("num_steps") + 1] == "100"
    assert "tensorflow" in texts


def test_the_graph_is_the_policys(opened):
    nodes = opened("graphs", "tf-graph-scene g.node text")
    texts = until(lambda: [text for text in nodes.all_text_contents() if text])
    assert any(text.startswith("observ") for text in texts), texts
    assert any("sequential" in text for text in texts), texts


def test_images_show_an_episode_as_an_animation(opened):
    images = opened("images", "tf-image-loader img")
    assert until(lambda: images.first.evaluate("image => image.naturalWidth")) == 300
    with urllib.request.urlopen(images.first.evaluate("image => image.src")) as answer:
        assert answer.headers["Content-Type"] == "image/gif"
        assert answer.read(6) == b"GIF89a"


@pytest.fixture(scope="module")
def longer(runs, tmp_path_factory):
    """A folder with a run that was resumed twice from one checkpoint, so that the first continuation is void."""
    folder = tmp_path_factory.mktemp("longer")
    run = shutil.copytree(runs / "one", folder / "run")
    _, first = sorted((run / "checkpoints").iterdir())
    script("train", "--resume", run, "--total-steps", "900")
    for checkpoint in (run / "checkpoints").iterdir():
        if checkpoint.name != first.name:
            checkpoint.unlink()
    script("train", "--resume", run, "--total-steps", "1000")
    return folder


@pytest.mark.parametrize("load_fast", ["true", "false"])
def test_a_resumed_run_shows_every_step_once(longer, load_fast):
    """With both of TensorBoard's ways of reading."""
    with open(longer / "run" / "history.csv", newline="") as file:
        expected = [int(float(row["time/total_timesteps"])) for row in csv.DictReader(file)]
    query = urllib.parse.urlencode({"run": "run/tensorboard", "tag": "train/value_loss", "format": "csv"})
    process, address = served(longer, f"--load_fast={load_fast}")

    def steps():
        try:
            with urllib.request.urlopen(f"{address}/data/plugin/scalars/scalars?{query}") as answer:
                return [int(row["Step"]) for row in csv.DictReader(answer.read().decode().splitlines())]
        except urllib.error.HTTPError:  # until the run is read
            return []

    try:
        assert until(lambda: steps() == expected), (steps(), expected)
    finally:
        process.terminate()
        process.communicate(timeout=30)


def test_a_report_opens_from_its_file_alone(browser, runs, tmp_path):
    script("plot", runs / "one", "--report", tmp_path / "report.html")
    page = browser.new_page()
    asked, said = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.goto((tmp_path / "report.html").as_uri())
    widths = page.locator("img").evaluate_all("images => images.map(image => image.naturalWidth)")
    assert len(widths) == 8
    assert min(widths) > 300
    assert {urllib.parse.urlsplit(url).scheme for url in asked} <= {"file", "data"}
    assert page.get_by_text("max_kl").first.is_visible()
    assert said == []
    page.close()
