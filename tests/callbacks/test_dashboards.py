"""Contents of TensorBoard that are written once per run, read back as TensorBoard's plugins read them."""

import re

import pytest
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.util import tensor_util

from tf_trpo.callbacks.dashboards import METRICS, hyperparameter_summaries, layout_summary, tables
from tf_trpo.figures.charts import CHARTS


def value_of(summary):
    [value] = summary.value
    return value


@pytest.fixture(scope="module")
def layout():
    return layout_pb2.Layout.FromString(tensor_util.make_ndarray(value_of(layout_summary()).tensor).item())


def test_the_layout_has_every_chart_and_its_first_category_is_open(layout):
    assert {category.title: [chart.title for chart in category.chart] for category in layout.category} == {
        title: list(charts) for title, charts in CHARTS.items()
    }
    assert [category.closed for category in layout.category] == [False, *([True] * (len(CHARTS) - 1))]
    # The first category is the most important one.
    assert {"Return", "KL of the candidate and its limit, nats", "Explained variance"} <= set(CHARTS["Learning"])
    assert next(iter(CHARTS)) == "Learning"


def test_the_kl_next_to_its_limit_is_the_one_that_is_limited():
    # With the constraint "max" this is the largest KL, next to which the mean would always look small.
    assert CHARTS["Learning"]["KL of the candidate and its limit, nats"][0] == "train/candidate_kl"


def test_a_chart_shows_its_figures_and_no_others(layout):
    patterns = [tag for category in layout.category for chart in category.chart for tag in chart.multiline.tag]
    figures = [tag for charts in CHARTS.values() for tags in charts.values() for tag in tags]
    for pattern, figure in zip(patterns, figures, strict=True):
        assert re.match(pattern, figure)
        others = {*figures, f"{figure}_too", f"x{figure}"} - {figure}
        assert not any(re.match(pattern, other) for other in others)


GIVEN = {"env": "CartPole-v1", "max_kl": 0.01, "jit": True, "steps": 7, "sizes": (64, 32), "none": None, "empty": []}
SHOWN = {**GIVEN, "sizes": "64, 32", "empty": ""}
"""As text, where it is neither a number nor a bool; what is None is left out."""


def test_hyperparameters_are_columns_of_their_type_the_first_five_first_and_runs_are_compared_by_metrics():
    contents = [value_of(summary) for summary in hyperparameter_summaries(GIVEN)]
    assert [value.tag for value in contents] == [metadata.EXPERIMENT_TAG, metadata.SESSION_START_INFO_TAG]
    experiment, session = (value.metadata.plugin_data.content for value in contents)
    columns = metadata.parse_experiment_plugin_data(experiment)
    types = {bool: api_pb2.DATA_TYPE_BOOL, str: api_pb2.DATA_TYPE_STRING, type(None): api_pb2.DATA_TYPE_UNSET}
    assert [(info.name, info.type, info.differs) for info in columns.hparam_infos] == [
        (name, types.get(type(value), api_pb2.DATA_TYPE_FLOAT64), place < 5)
        for place, (name, value) in enumerate(SHOWN.items())
    ]
    values = metadata.parse_session_start_info_plugin_data(session).hparams
    found = {name: getattr(value, value.WhichOneof("kind")) for name, value in values.items()}
    assert found == {name: value for name, value in SHOWN.items() if value is not None}
    assert {info.name.tag: info.display_name for info in columns.metric_infos} == METRICS
    assert {"eval/mean_reward", "rollout/ep_rew_mean", "train/kl_divergence_loss"} <= set(METRICS)


# TensorBoard bundles html5lib, which warns when it is imported.
@pytest.mark.filterwarnings("ignore:html5lib's sanitizer is deprecated:DeprecationWarning")
def test_text_is_tables_for_any_values():
    from tensorboard import plugin_util

    values = {"a|b": "x|y", "lines": "1\n\n2", "none": "", "zero": 0, "_marks_": "*bold* `code` # no", "tag": "<em>&"}
    html = plugin_util.markdown_to_safe_html(tables({"settings": values, "versions": {"p": 1}}))
    assert html.count("<table>") == html.count("</table>") == 2
    assert re.findall(r"<h3>(.*?)</h3>", html) == ["settings", "versions"]
    assert re.findall(r"<tr><td>(.*?)</td><td>(.*?)</td></tr>", html) == [
        ("a|b", "x|y"),
        ("lines", "1 2"),
        ("none", ""),
        ("zero", "0"),
        ("_marks_", "*bold* `code` # no"),
        ("tag", "&lt;em&gt;&amp;"),
        ("p", "1"),
    ]
