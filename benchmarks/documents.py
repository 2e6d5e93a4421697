"""`results`: print tables of results as Markdown, or update them in documents."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import SupportsFloat

import numpy as np

from benchmarks.report import markdown
from benchmarks.runs import MODES
from benchmarks.tables import CostResult, RunResult, by_settings, read_table
from tf_trpo.figures.statistics import interquartile_mean
from tf_trpo.files import write_whole

RESULTS = Path("docs/results")
FOLDERS = (RESULTS, Path("benchmarks/results"))
"""Folders of the tables of reported results and of trials."""
PEERS = RESULTS / "peers"
_SECTION = re.compile(
    r"(?P<begin>^<!-- results: (?P<suite>\S+)(?P<form> crossed| costs| beside \S+)? -->\n)"
    r"(?:(?!^<!-- results: ).)*?"
    r"(?P<end>^<!-- end of results -->$)",
    re.DOTALL | re.MULTILINE,
)
_MARK = re.compile(r"^<!-- (?:results: .*|end of results) -->$", re.MULTILINE)

Peers = Mapping[tuple[str, int], Mapping[str, Sequence[RunResult]]]
"""(Environment, steps) -> name -> runs of another program."""


@dataclasses.dataclass(frozen=True)
class Results:
    """Print the results of a suite as a Markdown table. Without a suite, update such tables in documents.

    In a document, a table stands between the lines <!-- results: SUITE --> and <!-- end of results -->. If the first
    line is <!-- results: SUITE crossed -->, the table has settings as rows and environments as columns; if it is
    <!-- results: SUITE costs -->, the table has the returns and the costs of each seed; if it is
    <!-- results: SUITE beside OTHER -->, the table has the mean returns of two suites next to each other.
    """

    suite: str | None = None
    """Suite whose table is printed."""
    into: tuple[Path, ...] = ()
    """Documents in which every table is updated; by default, without a suite, all documents that have tables."""

    def run(self) -> None:
        """Print the table; update the documents and print their paths."""
        if self.suite is not None:
            print(table_of(self.suite))
        into = self.into or (with_tables() if self.suite is None else ())
        if self.suite is None and not into:
            raise ValueError("there is no document with tables of results here: run this in the folder of the checkout")
        texts = [refreshed(path.read_text(encoding="utf-8")) for path in into]
        for path, text in zip(into, texts, strict=True):
            write_whole(path, text)
            print(path)


def with_tables(root: Path = Path()) -> list[Path]:
    """Return the documents of a checkout that have tables of results."""
    documents = [*root.glob("*.md"), *(root / "benchmarks").glob("*.md"), *(root / "docs").rglob("*.md")]
    return sorted(path for path in documents if _MARK.search(path.read_text(encoding="utf-8")))


def refreshed(text: str) -> str:
    """Return a document with updated tables.

    Args:
      text: the document.

    Raises:
      ValueError: the document has no table, or the begin or end of a table is missing.
    """
    sections = list(_SECTION.finditer(text))
    if not sections or len(_MARK.findall(text)) != 2 * len(sections):
        raise ValueError("each line <!-- results: SUITE --> needs a line <!-- end of results --> after it")

    def table(section: re.Match[str]) -> str:
        made = table_of(section["suite"], (section["form"] or "").strip())
        return f"{section['begin']}\n{made}\n\n{section['end']}"

    return _SECTION.sub(table, text)


def table_of(suite: str, form: str = "") -> str:
    """Return the Markdown table of a suite.

    Args:
      suite: name of a folder in one of `FOLDERS`.
      form: "crossed" for a column for each environment, "costs" for returns and costs, "beside OTHER" for the means of
        two suites, "" for statistics of returns.

    Raises:
      OSError: the suite has no table.
    """
    path = _path_of(suite)
    results = read_table(path, RunResult)
    if form == "crossed":
        rows = crossed(results)
    elif form == "costs":
        rows = with_costs(results, read_table(path.with_name("costs.csv"), CostResult))
    elif form.startswith("beside "):
        other = form.removeprefix("beside ")
        rows = beside({suite: results, other: read_table(_path_of(other), RunResult)}, read_peers())
    else:
        rows = summary(results, read_peers())
    return "\n".join(markdown(rows))


def _path_of(suite: str) -> Path:
    paths = [folder / suite / "results.csv" for folder in FOLDERS]
    return next((path for path in paths if path.exists()), paths[0])


def read_peers() -> Peers:
    """Read the runs of other programs; empty if there is no table."""
    path = PEERS / "results.csv"
    found: dict[tuple[str, int], dict[str, Sequence[RunResult]]] = {}
    for env, name, steps, group in _by_steps(read_table(path, RunResult) if path.exists() else []):
        found.setdefault((env, steps), {})[name] = group
    return found


def summary(results: Sequence[RunResult], peers: Peers | None = None) -> list[dict[str, str]]:
    """Return a row for each environment and name, with statistics over seeds for both modes of evaluation.

    Args:
      results: results of runs.
      peers: runs of other programs, which get a column in rows with the same environment and number of steps.
    """
    rows = []
    for env, name, steps, group in _by_steps(results):
        row = {"environment": env, "settings": name, "steps": _thousands(steps), "seeds": str(len(group))}
        for mode in MODES:
            returns = _returns(group, mode)
            row[f"{mode}: mean ± std"] = _spread(returns)
            estimate, low, high = _numbers(*interquartile_mean(returns))
            row[f"{mode}: IQM [95%]"] = f"{estimate} [{low}, {high}]" if len(group) > 1 else estimate
            (row[f"{mode}: min"],) = _numbers(returns.min())
        for peer, theirs in (peers or {}).get((env, steps), {}).items():
            means = " / ".join(_numbers(*(_returns(theirs, mode).mean() for mode in MODES)))
            row[f"{peer}: deterministic / stochastic (seeds)"] = f"{means} ({len(theirs)})"
        rows.append(row)
    return rows


def beside(suites: Mapping[str, Sequence[RunResult]], peers: Peers) -> list[dict[str, str]]:
    """Return a row for each environment of the first suite: deterministic / stochastic means of each suite.

    Args:
      suites: name of a suite -> its results; they have one name of settings for each environment.
      peers: runs of other programs, of which those with the steps of the first suite get a column.
    """
    first, *_ = suites.values()
    rows = {result.env: {"environment": result.env} for result in first}
    steps = {result.env: result.steps for result in first}
    own = [(suite, env, group) for suite, results in suites.items() for (env, _), group in by_settings(results).items()]
    theirs = [(name, env, group) for env in rows for name, group in peers.get((env, steps[env]), {}).items()]
    for name, env, group in (*own, *theirs):
        if env in rows:
            modes = (_returns(group, mode) for mode in MODES)
            means = " / ".join(map(_spread, modes))
            rows[env][f"{name}, {_thousands(_steps_of(group))} steps"] = f"{means} ({len(group)})"
    return list(rows.values())


def crossed(results: Sequence[RunResult]) -> list[dict[str, str]]:
    """Return a row per name with a column per environment: deterministic / stochastic mean ± std over seeds."""
    rows: dict[str, dict[str, str]] = {}
    for (env, name), group in by_settings(results).items():
        modes = (_returns(group, mode) for mode in MODES)
        cell = " / ".join(map(_spread, modes))
        rows.setdefault(name, {"settings": name})[f"{env}, {_thousands(_steps_of(group))} steps"] = cell
    return [rows[name] for name in sorted(rows)]


def with_costs(results: Sequence[RunResult], costs: Sequence[CostResult]) -> list[dict[str, str]]:
    """Return a row per environment, name and cost: for both modes, mean ± std of the returns, and each seed's cost."""
    rows = []
    for (env, name), group in by_settings(results).items():
        own = [each for each in costs if (each.env, each.name) == (env, name)]
        for cost in sorted({each.cost for each in own}):
            row = {"environment": env, "settings": name, "seeds": str(len(group))}
            of_cost = sorted((each for each in own if each.cost == cost), key=lambda each: each.seed)
            for mode in MODES:
                returns = _returns(group, mode)
                row[f"{mode}: mean ± std"] = _spread(returns)
                row[f"{mode}: cost {cost} of each seed"] = ", ".join(f"{getattr(each, mode):.1f}" for each in of_cost)
            rows.append(row)
    return rows


def _by_steps(results: Sequence[RunResult]) -> Iterator[tuple[str, str, int, list[RunResult]]]:
    """Yield environment, name, steps and runs of each group of runs that differ in their seeds only."""
    for (env, name), group in by_settings(results).items():
        for steps in sorted({result.steps for result in group}):
            yield env, name, steps, [result for result in group if result.steps == steps]


def _steps_of(group: Sequence[RunResult]) -> int:
    """Return the steps of a group of runs; raise ValueError if they differ, since their returns then say nothing."""
    steps = {result.steps for result in group}
    if len(steps) > 1:
        raise ValueError(f"{group[0].env}, {group[0].name} has runs of {' and '.join(map(str, sorted(steps)))} steps")
    return steps.pop()


def _returns(results: Sequence[RunResult], mode: str) -> np.ndarray:
    return np.array([getattr(result, mode) for result in results])


def _spread(returns: np.ndarray) -> str:
    """Format the mean of the seeds and their sample standard deviation, which one seed does not have."""
    return " ± ".join(_numbers(returns.mean(), *([returns.std(ddof=1)] if len(returns) > 1 else [])))


def _numbers(*values: SupportsFloat) -> list[str]:
    """Format numbers with equal decimals: none if one is 100 or more, two if all are at most 1; 0 has no sign."""
    numbers = [float(value) for value in values]
    largest = max(map(abs, numbers))
    decimals = 0 if largest >= 99.95 else 1 if largest > 1 else 2
    return [f"{round(number, decimals) + 0.0:.{decimals}f}" for number in numbers]


def _thousands(steps: int) -> str:
    if steps < 1000:
        return str(steps)
    return f"{steps / 1e6:g}M" if steps >= 1_000_000 else f"{steps / 1e3:g}k"
