"""Print the progress of a search: a live table of the trials on a terminal, a line for each trial elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from tf_trpo.messages import stream
from tf_trpo.tuning.study import TrialRecord, best_of

_SHOWN = 15
"""Number of newest trials in the table."""
_STYLES = {"running": "cyan", "pruned": "dim", "failed": "red", "killed": "dim red", "waiting": "dim"}


class TrialTable:
    """A context manager that prints the progress of a search.

    Args:
      records: returns the current trials.
      trials: number of trials of the search.
      console: where to print; by default standard error.
      quiet: print nothing.
    """

    def __init__(
        self,
        records: Callable[[], Sequence[TrialRecord]],
        trials: int,
        *,
        console: Console | None = None,
        quiet: bool = False,
    ) -> None:
        self._records, self._trials, self._quiet = records, trials, quiet
        self._console = console or Console(file=stream())
        self._said: set[int] = set()
        self._live: Live | None = None

    def __enter__(self) -> TrialTable:
        if not self._quiet:
            # Trials of an earlier process are not printed again.
            self._said = {record.number for record in self._records() if record.state not in ("running", "waiting")}
            if self._console.is_terminal:
                self._live = Live(self.table(), console=self._console, auto_refresh=False)
                self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def update(self) -> None:
        """Print changes since the last call."""
        if self._live is not None:
            self._live.update(self.table(), refresh=True)
        elif not self._quiet:
            for record in self._records():
                if record.state not in ("running", "waiting") and record.number not in self._said:
                    self._said.add(record.number)
                    self._console.print(self.line(record), highlight=False, soft_wrap=True, markup=False)

    def say(self, words: str) -> None:
        """Print a line."""
        if not self._quiet:
            self._console.print(words, highlight=False, soft_wrap=True, markup=False)

    def line(self, record: TrialRecord) -> str:
        """Return a trial as a line of text."""
        settings = " ".join(f"{name}={_short(value)}" for name, value in record.settings.items())
        return f"trial {record.number} {record.state} {_short(record.value)} {settings}{_because(record)}"

    def table(self) -> Table:
        """Return a table of the newest trials and the best one."""
        records = self._records()
        best = best_of(records)
        done = sum(record.state in ("complete", "pruned", "failed") for record in records)
        title = f"{done} of {self._trials} trials; best {_short(best.value if best else None)}"
        names = list(dict.fromkeys(name for record in records for name in record.settings))
        table = Table("trial", "state", "return", "evaluations", *names, title=title)
        newest = records[-_SHOWN:]
        for record in [*([best] if best and best not in newest else []), *newest]:
            style = "bold green" if best and record.number == best.number else _STYLES.get(record.state, "")
            last = _short(record.evaluations[max(record.evaluations)]) if record.evaluations else "-"
            evaluations = f"{len(record.evaluations)}, last {last}"
            state = f"{record.state}{' (default)' if record.is_default else ''}"
            cells = [_short(record.settings.get(name)) for name in names]
            table.add_row(str(record.number), state, _short(record.value), evaluations, *cells, style=style)
        return table


def _short(value: Any) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _because(record: TrialRecord) -> str:
    return f": {record.reason}" if record.reason else ""
