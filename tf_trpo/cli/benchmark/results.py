"""The tables of results as Markdown, printed or written between marks in documents."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, SupportsFloat

import numpy as np

from tf_trpo.cli.benchmark.report import markdown
from tf_trpo.cli.benchmark.settings import Results
from tf_trpo.cli.benchmark.suite_runs import MODES, suite_name
from tf_trpo.cli.errors import UsageError
from tf_trpo.cli.table_file import read_rows
from tf_trpo.files import write_whole
from tf_trpo.results import RunResult, Target, by_settings, interquartile_mean

LAYOUTS = ("rows", "crossed")
_SECTION = re.compile(
    r"(?P<begin>^<!-- results: (?P<suite>\S+)(?: (?P<layout>\w+))? -->\n)"
    r"(?:(?!^<!-- results: ).)*?"
    r"(?P<end>^<!-- end of results -->$)",
    re.DOTALL | re.MULTILINE,
)
_MARK = re.compile(r"^<!-- (?:results: .*|end of results) -->$", re.MULTILINE)


class Beside(NamedTuple):
    """What stands beside our own results.

    Attributes:
      peers: runs of others, by environment and steps, then by name.
      targets: returns to be reached, by environment.
    """

    peers: dict[tuple[str, int], dict[str, list[RunResult]]]
    targets: dict[str, float]


def print_results(command: Results) -> None:
    """Print a suite's table, or write it into documents and print their names.

    Raises:
      UsageError: there is no such suite or document, or what it holds cannot be understood.
    """
    suite = None if command.suite is None else suite_name(command.suite)
    if not command.into:
        if suite is None:
            raise UsageError("results needs the name of a suite by --suite, or documents by --into")
        print(table_of(suite, command.layout, command.results_dir, command.peers))
        return
    if command.layout != LAYOUTS[0]:
        raise UsageError(
            "layout is of a printed table; in a document it stands in the line <!-- results: SUITE LAYOUT -->"
        )
    try:
        for path, text in [(path, path.read_text(encoding="utf-8")) for path in command.into]:
            write_whole(path, refreshed(text, str(path), command.results_dir, command.peers, only=suite))
            print(path)
    except (OSError, UnicodeDecodeError) as error:
        where = getattr(error, "filename", None) or ", ".join(map(str, command.into))
        raise UsageError(f"{where} cannot be rewritten: {getattr(error, 'strerror', None) or error}") from None


def refreshed(text: str, where: str, results_dir: Path, peers: Path | None = None, *, only: str | None = None) -> str:
    """A document with its tables made anew.

    A table stands between the lines `<!-- results: SUITE LAYOUT -->`, where LAYOUT may be missing for rows, and
    `<!-- end of results -->`.

    Args:
      text: the document.
      where: its name, for messages.
      results_dir: folder of the suites' tables.
      peers: folder of others' tables; by default results_dir/peers, if that is there.
      only: the suite whose tables are made anew; all of them by default.

    Raises:
      UsageError: no such mark, one without its other, or a table that cannot be made.
    """
    sections = list(_SECTION.finditer(text))
    if len(_MARK.findall(text)) != 2 * len(sections):
        raise UsageError(f"{where}: each line <!-- results: SUITE --> needs a line <!-- end of results --> after it")
    if not any(only in (None, section["suite"]) for section in sections):
        raise UsageError(f"{where} has no line <!-- results: {only or 'SUITE'} -->")

    def table(section: re.Match[str]) -> str:
        if only not in (None, section["suite"]):
            return section[0]
        layout = section["layout"] or "rows"
        if layout not in LAYOUTS:
            raise UsageError(f"{where}: no layout {layout}; there are {', '.join(LAYOUTS)}")
        made = table_of(section["suite"], layout, results_dir, peers)
        return f"{section['begin']}\n{made}\n\n{section['end']}"

    return _SECTION.sub(table, text)


def table_of(suite: str, layout: str, results_dir: Path, peers: Path | None = None) -> str:
    """The table of a suite's results, as Markdown; arguments and errors as for `refreshed`."""
    results = read_results(results_dir / suite / "results.csv")
    rows = crossed(results) if layout == "crossed" else summary(results, _beside(results_dir, suite, peers))
    return "\n".join(markdown(rows))


def summary(results: Sequence[RunResult], beside: Beside | None = None) -> list[dict[str, str]]:
    """A row for each environment and name: statistics over seeds of both evaluations, and what stands beside them.

    Others' runs stand beside ours of as many steps.
    """
    peers, targets = beside or Beside({}, {})
    rows = []
    for (env, name), group in by_settings(results).items():
        steps = group[0].steps
        row = {"environment": env, "settings": name, "steps": _thousands(steps), "seeds": str(len(group))}
        for mode in MODES:
            returns = np.array([getattr(result, mode) for result in group])
            middle = interquartile_mean(returns)
            row[f"{mode}: mean ± std"] = " ± ".join(_numbers(returns.mean(), returns.std()))
            estimate, low, high = _numbers(*middle)
            row[f"{mode}: IQM [95%]"] = f"{estimate} [{low}, {high}]"
            (row[f"{mode}: min"],) = _numbers(returns.min())
        for peer, theirs in peers.get((env, steps), {}).items():
            row[f"{peer}: deterministic / stochastic (seeds)"] = f"{_means(theirs)} ({len(theirs)})"
        if env in targets:
            (row["target"],) = _numbers(targets[env])
        rows.append(row)
    return rows


def crossed(results: Sequence[RunResult]) -> list[dict[str, str]]:
    """A row for each name, a column for each environment: deterministic / stochastic mean ± std over seeds."""
    rows: dict[str, dict[str, str]] = {}
    for (env, name), group in by_settings(results).items():
        modes = (np.array([getattr(result, mode) for result in group]) for mode in MODES)
        cell = " / ".join(" ± ".join(_numbers(returns.mean(), returns.std())) for returns in modes)
        rows.setdefault(name, {"settings": name})[f"{env}, {_thousands(group[0].steps)} steps"] = cell
    return [rows[name] for name in sorted(rows)]


def _beside(results_dir: Path, suite: str, peers: Path | None) -> Beside:
    found: dict[tuple[str, int], dict[str, list[RunResult]]] = {}
    folder = peers or results_dir / "peers"
    if peers is not None or folder.is_dir():
        for (env, name), group in by_settings(read_results(folder / "results.csv")).items():
            found.setdefault((env, group[0].steps), {})[name] = group
    targets = results_dir / suite / "targets.csv"
    rows = read_rows(targets, Target) if targets.exists() else []
    return Beside(found, {row.env: row.target for row in rows})


def read_results(path: Path) -> list[RunResult]:
    """The rows of a results.csv, at least one.

    Raises:
      UsageError: it cannot be read, or has none.
    """
    results = read_rows(path, RunResult, hint="; benchmark learn writes it")
    if not results:
        raise UsageError(f"{path} has no runs")
    return results


def _means(results: Sequence[RunResult]) -> str:
    return " / ".join(_numbers(*(np.mean([getattr(result, mode) for result in results]) for mode in MODES)))


def _numbers(*values: SupportsFloat) -> list[str]:
    """Alike: without decimals if one is above 100, else with one; 0 without a sign."""
    numbers = [float(value) for value in values]
    decimals = 0 if max(map(abs, numbers)) >= 99.95 else 1
    return [f"{round(number, decimals) + 0.0:.{decimals}f}" for number in numbers]


def _thousands(steps: int) -> str:
    if steps < 1000:
        return str(steps)
    return f"{steps / 1e6:g}M" if steps >= 1_000_000 else f"{steps / 1e3:g}k"
