"""The command plot: groups of runs, their curves, reports, and refusals in one line."""

import csv
import itertools
import json
import re
import sys
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import matplotlib.image
import numpy as np
import pytest
from scipy import stats

from tf_trpo import Experiment
from tf_trpo.cli import main
from tf_trpo.cli.plot import group_runs
from tf_trpo.experiment.conversion import leaves
from tf_trpo.experiment.settings import ENDS_OF_SCHEDULES
from tf_trpo.figures import run_curves
from tf_trpo.figures.charts import CHARTS, FIGURES, STEPS

FEW = (STEPS, "time/iterations", "time/time_elapsed", "rollout/ep_rew_mean")
COLUMNS = (*FEW[:3], *FIGURES, "train/trust_region_radius", "train/is_line_search_success")


def drawn_of(columns):
    """Titles of the charts of a report with the given columns."""
    return [title for charts in CHARTS.values() for title, shown in charts.items() if set(shown) & set(columns)]


def make_run(path, returns=(1.0, 2.0, 4.0), steps=(10, 20, 30), columns=FEW, **settings):
    """A run folder as train writes it, with the given returns, and 1 in the other columns."""
    path.mkdir(parents=True)
    config = {
        "settings": Experiment().replace(algorithm=settings.get("algorithm", "trpo")).flat() | settings,
        "versions": {"python": "3"},
        "platform": "here",
    }
    (path / "config.json").write_text(json.dumps(config))
    with open(path / "history.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval=1.0)
        writer.writeheader()
        for number, (step, value) in enumerate(zip(steps, returns, strict=True), start=1):
            writer.writerow(dict(zip(FEW, (step, number, 2.5 * step, value), strict=True)))
    return path


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


FALLING = {"final_max_kl": 0.1, "total_steps": 5}
NATURAL = {"algorithm": "natural-policy-gradient"}
GROUPS = {
    "seeds, lengths and how they were run make no groups": (
        [{"seed": 0}, {"seed": 1, "total_steps": 7, "threads": 1, "quiet": True, "eval_every": 5}],
        [],
        {"CartPole-v1, trpo": "ab"},
    ),
    "an extended run without a schedule stays in its group": (
        [{}, {"seed": 1, "total_steps": 7, "schedule_steps": 5}],
        [],
        {"CartPole-v1, trpo": "ab"},
    ),
    "runs with schedules of different lengths are different from the beginning": (
        [FALLING, {**FALLING, "total_steps": 7}, {**FALLING, "total_steps": 9, "schedule_steps": 5}],
        [],
        {"schedule_steps 5": "ac", "schedule_steps 7": "b"},
    ),
    "groups are labelled by what they differ in": (
        [{"max_kl": 0.01}, {"max_kl": 0.5, "hidden_sizes": [8, 8]}, {"max_kl": 0.01, "seed": 1}],
        [],
        {"max_kl 0.01, hidden_sizes 64 64": "ac", "max_kl 0.5, hidden_sizes 8 8": "b"},
    ),
    "settings that an algorithm does not have do not tell runs apart": (
        [{}, {"seed": 2}, {"algorithm": "vanilla-policy-gradient"}],
        [],
        {"trpo": "ab", "vanilla-policy-gradient": "c"},
    ),
    "a setting that one group has is named if nothing else tells them apart": (
        [NATURAL, {**NATURAL, "natural_learning_rate": 0.5}],
        [],
        {"others": "a", "natural_learning_rate 0.5": "b"},
    ),
    "runs of other versions are drawn too": ([{"std_steps": 7}, {}], [], {"std_steps 7": "a", "others": "b"}),
    "groups may be chosen": (
        [{"env": "A", "max_kl": 0.1}, {"env": "A", "max_kl": 0.2}, {"env": "B", "max_kl": 0.1}],
        ["env"],
        {"A": "ab", "B": "c"},
    ),
    "by any setting": ([{"max_kl": 0.1}, {"max_kl": 0.2}], ["max_kl"], {"max_kl 0.1": "a", "max_kl 0.2": "b"}),
}


def test_every_setting_that_is_reached_at_the_end_of_a_run_tells_its_length():
    assert {name for name in leaves(Experiment) if "final" in name} == {*ENDS_OF_SCHEDULES}


@pytest.mark.parametrize(("settings", "group_by", "groups"), GROUPS.values(), ids=GROUPS)
def test_runs_are_grouped_and_labelled(workplace, settings, group_by, groups):
    runs = [make_run(workplace / name, **each) for name, each in zip("abc", settings, strict=False)]
    found = group_runs(runs, group_by)
    assert {label: "".join(run.path.name for run in members) for label, members in found} == groups


@pytest.fixture
def drawn(monkeypatch):
    """The groups of each figure that is drawn."""
    kept = []
    draw = run_curves.draw
    monkeypatch.setattr(run_curves, "draw", lambda groups, *labels: kept.append(groups) or draw(groups, *labels))
    return kept


@pytest.mark.parametrize("statistic", ["iqm", "mean"])
def test_a_curve_is_the_statistic_over_the_runs_on_common_steps(workplace, drawn, statistic, capsys):
    returns = np.random.default_rng(0).normal(size=(5, 3))
    steps = [(10, 20, 30), (11, 20, 31), (9, 21, 40), (10, 15, 29), (10, 25, 30)]
    runs = [make_run(workplace / str(seed), returns[seed], steps[seed], seed=seed) for seed in range(5)]
    main(["plot", *map(str, runs), "--statistic", statistic, "--output", "curves.svg"])
    assert capsys.readouterr().out == "curves.svg\n"
    [group] = drawn[0]
    assert (group.x[0], group.x[-1], group.runs) == (11, 29, 5)
    values = [np.interp(group.x, steps[seed], returns[seed]) for seed in range(5)]
    expected = stats.trim_mean(values, 0.25) if statistic == "iqm" else np.mean(values, axis=0)
    np.testing.assert_allclose(group.y.estimate, expected)
    assert np.all(group.y.low <= group.y.high)
    assert np.any(group.y.low < group.y.high)
    assert ElementTree.parse("curves.svg").getroot().tag.endswith("svg")


def test_a_run_that_cuts_the_line_of_its_group_is_named(workplace, capsys):
    whole = [make_run(workplace / name, steps=(10, 20, end)) for name, end in (("a", 100), ("b", 96))]
    short = make_run(workplace / "short", steps=(10, 20, 94), total_steps=94)
    main(["plot", *map(str, whole)])
    assert capsys.readouterr().err == ""
    main(["plot", *map(str, whole), str(short)])
    line = f"CartPole-v1, trpo: the line ends at 94 of 100 environment steps, with its shortest run, {short}"
    assert capsys.readouterr().err.split() == line.split()


@pytest.mark.parametrize(("x", "first", "last"), [("steps", 10, 30), ("iterations", 1, 3), ("seconds", 25, 75)])
def test_curves_may_be_over_steps_iterations_or_seconds(workplace, drawn, x, first, last):
    main(["plot", str(make_run(workplace / "run")), "--x", x])
    [group] = drawn[0]
    assert (group.x[0], group.x[-1]) == (first, last)
    np.testing.assert_array_equal(group.y.estimate[[0, -1]], [1.0, 4.0])


def test_folders_may_be_on_both_sides_of_an_option(workplace, drawn):
    for seed, name in enumerate(("one", "-other", "third")):
        make_run(workplace / name, seed=seed)
    main(["plot", "one", "--x", "steps", "third", "--output", "curves.svg"])
    main(["plot", "--x", "steps", "--", "one", "-other", "third"])
    assert [[group.runs for group in groups] for groups in drawn] == [[2], [3]]


def test_unknown_values_are_left_out(workplace, drawn):
    run = make_run(workplace / "run", (np.nan, 2.0, np.nan, 4.0), (10, 20, 30, 40))
    main(["plot", str(run)])
    [group] = drawn[0]
    assert (group.x[0], group.x[-1]) == (20, 40)
    np.testing.assert_allclose(group.y.estimate, np.linspace(2, 4, len(group.x)))


def test_a_figure_is_written_to_a_new_folder(workplace, capfd):
    runs = [make_run(workplace / "a"), make_run(workplace / "b", max_kl=0.5)]
    main(["plot", *map(str, runs), "--output", "new/curves.png"])
    assert capfd.readouterr() == ("new/curves.png\n", "")
    pixels = matplotlib.image.imread("new/curves.png")
    assert min(pixels.shape[:2]) > 400
    assert len(np.unique(pixels[..., :3].reshape(-1, 3), axis=0)) > 20


class Reader(HTMLParser):
    """Parses a report as a browser would: text, elements, and references."""

    def __init__(self):
        super().__init__()
        self.text, self.elements, self.links = [], [], []

    def handle_starttag(self, tag, attrs):
        self.elements.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]

    def handle_data(self, data):
        self.text.append(data.strip())


@pytest.fixture
def report(workplace, capsys):
    """report(run): the parsed report of a run."""

    def read(run):
        main(["plot", str(run), "--report", "report.html"])
        assert capsys.readouterr() == ("report.html\n", "")
        reader = Reader()
        reader.feed((workplace / "report.html").read_text(encoding="utf-8"))
        return reader

    return read


def test_a_report_shows_settings_versions_result_curves_and_a_table(workplace, report):
    run = make_run(
        workplace / "run", np.arange(50.0), np.arange(10, 510, 10), COLUMNS, max_kl=0.125, hidden_sizes=[3, 5]
    )
    (run / "evaluation.json").write_text('{"mean_return": 7.25, "std_return": 1.5, "mean_length": 1, "episodes": 3}')
    page = report(run)
    texts = [text for text in page.text if text]
    following = dict(itertools.pairwise(texts))
    assert following["max_kl"] == "0.125"
    assert following["hidden_sizes"] == "3, 5"
    assert following["python"] == "3"
    assert following["return after training"] == "7.25 ± 1.50 over 3 episodes"
    assert following["environment steps"] == "500"
    assert page.elements.count("img") == len(drawn_of(COLUMNS))
    rows = texts[texts.index("steps per second") + 1 : texts.index("Settings")]
    assert len(rows) == 12 * 8
    # Steps and return: the first and the last iteration, and some in between.
    assert (rows[:2], rows[-8:-6]) == (["10", "0"], ["500", "49"])


HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>&\"'{{ 7 * 7 }}"


def test_text_from_files_is_escaped_and_a_report_needs_no_network_and_runs_no_script(workplace, report):
    run = make_run(workplace / "a <b> & c", (np.nan,), (10,), env=HOSTILE, **{HOSTILE: HOSTILE})
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"versions": {HOSTILE: [HOSTILE]}, "platform": HOSTILE}))
    page = report(run)
    assert page.text.count(HOSTILE) == 6
    assert "a <b> & c" in page.text
    assert "not evaluated yet" in page.text
    assert len(page.links) == page.elements.count("img") == len(drawn_of(FEW))
    assert all(link.startswith("data:image/svg+xml;base64,") for link in page.links)
    assert not {"script", "link", "iframe", "object"} & set(page.elements)
    text = (workplace / "report.html").read_text()
    assert not re.search(r"url\(|@import", text)
    assert "default-src 'none'" in text


def test_a_report_has_only_the_columns_of_the_history(workplace, report):
    history = f"{STEPS},train/value_loss,train/kl_divergence_loss\n1,2,\n2,1,0.5\n"
    page = report(broken(workplace / "run", "history.csv", history))
    assert page.elements.count("img") == 2
    texts = [text for text in page.text if text]
    following = dict(itertools.pairwise(texts))
    assert following["largest mean KL of a step, nats"] == "0.5"
    assert texts[texts.index("mean KL of the step") - 1 :][:5] == ["steps", "mean KL of the step", "1", "2", "0.5"]


@pytest.mark.parametrize(
    "returns",
    [("inf", "1", "-inf"), ("1e400", "1", "2"), ("1e308", "1", "-1e308"), ("1e308",) * 3, ("inf", "nan", "1e308")],
)
def test_numbers_that_cannot_be_drawn_are_in_the_table_but_in_no_curve(workplace, report, returns, capsys):
    run = make_run(workplace / "run", returns)
    page = report(run)
    first = {"1e400": "inf", "1e308": "1e+308"}.get(returns[0], returns[0])
    assert first in page.text
    assert page.elements.count("img") == len(drawn_of(FEW))
    if "1" in returns:
        main(["plot", str(run)])
        assert capsys.readouterr().err == ""


def broken(path, name, text):
    run = make_run(path)
    (run / name).write_text(text)
    return run


REFUSED = {
    "no run": ([], "plot needs the folder of a run"),
    "runs after the settings": (["--group-by", "max_kl", "run", "late"], "name the folders before --group-by"),
    "mistyped": (["run", "--matric", "5", "late"], "; there is --metric; see plot --help"),
    "nowhere": (["nowhere"], "nowhere is no run folder (it has no config.json)"),
    "no history": (["bare"], "bare/history.csv: No such file or directory"),
    "truncated": (["truncated"], "truncated/history.csv is not whole: line 3 has 1 fields, not 2"),
    "empty": (["empty"], "empty/history.csv has no rows yet"),
    "config": (["config"], "config/config.json cannot be read"),
    "twice": (["run", "./run"], "run is named twice"),
    "metric": (["run", "--metric", "return"], "run/history.csv has no column return; there are time/total"),
    "no values": (["unknown"], "unknown/history.csv has no value of rollout/ep_rew_mean yet"),
    "apart": (["run", "late"], "the runs have no steps in common: one ends at 30, another begins at 100"),
    "apart in time": (
        ["run", "late", "--x", "seconds"],
        "the runs have no seconds in common: one ends at 75, another begins at 250; --x steps compares runs of any",
    ),
    "group": (["run", "--group-by", "max_lk"], "run/config.json has no setting max_lk"),
    "ending": (["run", "--output", "curves.pdf"], "curves.pdf must end in .png or .svg"),
    "output": (["run", "--output", "file/curves.png"], "file: File exists"),
    "reports": (["run", "late", "--report", "report.html"], "a report is of one run, not of 2"),
    "no report": (["--report", "report.html"], "a report is of one run, not of 0"),
    "columns": (["narrow", "--report", "report.html"], "narrow/history.csv has no column time/total_timesteps"),
    "evaluation": (["judged", "--report", "report.html"], "judged/evaluation.json cannot be read"),
    "report": (["run", "--report", "file/report.html"], "file: File exists"),
}


@pytest.mark.parametrize(("arguments", "words"), REFUSED.values(), ids=REFUSED)
def test_bad_input_is_one_line(workplace, refused, arguments, words):
    make_run(workplace / "run")
    make_run(workplace / "late", steps=(100, 200, 300))
    make_run(workplace / "unknown", (np.nan, np.nan, np.nan))
    (make_run(workplace / "bare") / "history.csv").unlink()
    broken(workplace / "truncated", "history.csv", f"{STEPS},rollout/ep_rew_mean\n1,2\n3\n")
    broken(workplace / "narrow", "history.csv", "rollout/ep_rew_mean\n1\n")
    broken(workplace / "empty", "history.csv", "")
    broken(workplace / "config", "config.json", "[]")
    broken(workplace / "judged", "evaluation.json", "{}")
    (workplace / "file").write_text("")
    before = set(workplace.rglob("*"))
    assert words in refused("plot", *arguments)
    assert set(workplace.rglob("*")) == before


@pytest.mark.parametrize(("missing", "arguments"), [("matplotlib", []), ("jinja2", ["--report", "report.html"])])
def test_a_missing_package_is_one_line_with_the_command_to_install_it(
    workplace, refused, monkeypatch, missing, arguments
):
    for module in ("tf_trpo.figures.style", "tf_trpo.cli.report"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, missing, None)
    error = refused("plot", make_run(workplace / "run"), *arguments)
    command = 'pip install -e ".[figures]" in the folder of the checkout'
    assert error == f"error: {missing} is not installed; it is in the extra figures: {command}"
