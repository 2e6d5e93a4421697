"""The trained agent of each environment's median seed as a model, with a card."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tf_trpo.cli.benchmark.results import read_results
from tf_trpo.cli.benchmark.settings import Export
from tf_trpo.cli.benchmark.suite_runs import MODES, Run, suite_name, suite_run
from tf_trpo.cli.benchmark.suites import read_suite, selected
from tf_trpo.cli.errors import UsageError
from tf_trpo.cli.model_card import ACTIONS, write_model_card
from tf_trpo.cli.startup import start_tensorflow
from tf_trpo.results import RunResult, by_settings


class Median(NamedTuple):
    """The run that stands for all seeds.

    Attributes:
      run: its folder.
      mode: of the evaluation that it is the median by.
      results: of all seeds.
    """

    run: Run
    mode: str
    results: list[RunResult]


def export_medians(command: Export) -> Iterator[str]:
    """Export the median seed of each environment; nothing is written before all of them have been found.

    Yields:
      The folder of each version, MODEL/VERSION.

    Raises:
      UsageError: an environment has no results, or those of several names; a median's run folder is missing or
        another than the one of the table; its code was not that of a commit; or a model cannot be written.
    """
    medians = [_checked(median) for median in _medians(command)]
    start_tensorflow()
    for median in medians:
        folder, env = median.run.folder, median.run.entry.env
        agent, evaluations = folder.load_agent(), median.run.evaluations()
        model = command.output / env.replace("/", "-")
        try:
            version = agent.export(model, environment=env, evaluation=evaluations["deterministic"])
            steps = int(agent.env_steps.numpy())
            write_model_card(Path(version), folder, steps, evaluations, seeds=_of_all_seeds(median, command.suite))
        except (OSError, ValueError) as error:
            raise UsageError(f"{model} cannot be written: {getattr(error, 'strerror', None) or error}") from None
        yield version


def median_of(results: Sequence[RunResult]) -> tuple[RunResult, str]:
    """The median seed, of an even number the lower middle one, and the mode of evaluation that it is the median by.

    The mode is the one with the better mean over seeds. Seeds of equal returns are in the order of their numbers.
    """
    mode = max(MODES, key=lambda mode: np.mean([getattr(result, mode) for result in results]))
    ranked = sorted(results, key=lambda result: (getattr(result, mode), result.seed))
    return ranked[(len(ranked) - 1) // 2], mode


def _medians(command: Export) -> list[Median]:
    groups = by_settings(read_results(command.results_dir / suite_name(command.suite) / "results.csv"))
    entries = selected(read_suite(command.suite), command.only, command.suite)
    names: dict[str, str] = {}
    for entry in entries:
        if names.setdefault(entry.env, entry.name) != entry.name:
            raise UsageError(f"suite {command.suite} has several names for {entry.env}; select one by --only")
    medians = []
    for entry in entries:
        results = groups.get((entry.env, entry.name))
        if results is None:
            raise UsageError(f"there are no results of {entry.env}/{entry.name}; benchmark learn trains them")
        result, mode = median_of(results)
        run = suite_run(entry, result.seed, command.runs_dir, command.suite, result.episodes)
        medians.append(Median(run, mode, results))
    return medians


def _checked(median: Median) -> Median:
    run = median.run
    path = run.folder.path
    if not run.finished.is_file():
        raise UsageError(f"{path}, the median of its seeds, holds no run that is finished; see --runs-dir")
    result = run.result()
    (listed,) = (row for row in median.results if row.seed == run.seed)
    if not np.allclose([getattr(result, mode) for mode in MODES], [getattr(listed, mode) for mode in MODES], rtol=1e-5):
        raise UsageError(f"{path} is not the run of which the table has the results")
    if not re.fullmatch("[0-9a-f]{40}", result.commit):
        commit = result.commit or "not known"
        raise UsageError(f"{path} was not trained by the code of a commit ({commit}): nobody could repeat it")
    return median


def _of_all_seeds(median: Median, suite: str) -> str:
    rows = "\n".join(
        f"| {result.seed} | {result.deterministic:.1f} | {result.stochastic:.1f} |" for result in median.results
    )
    of_all = f"the median of {len(median.results)} seeds of suite {suite_name(suite)}"
    return f"""Seed {median.run.seed} is {of_all}, by the return with {ACTIONS[median.mode]} actions:

| seed | {ACTIONS["deterministic"]} | {ACTIONS["stochastic"]} |
|---|---|---|
{rows}
"""
