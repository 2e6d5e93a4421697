"""Print the progress of training: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import datetime
import math
import time
from collections.abc import Mapping

import keras
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table

from tf_trpo.figures.charts import FIGURES
from tf_trpo.messages import rounded, stream

_LINE = {
    "rollout/ep_rew_mean": ("return", rounded),
    "rollout/ep_len_mean": ("length", "{:.0f}".format),
    "train/kl_divergence_loss": ("kl", rounded),
    "train/explained_variance": ("explained variance", "{:.2f}".format),
}
"""Figures of a plain line -> their labels and formats."""


class Progress(keras.callbacks.Callback):
    """Prints the progress of training, as far as it can be written.

    Args:
      console: where to print; by default standard error.
      interval: minimum number of seconds between lines, if the console is not a terminal.
    """

    needs_steps = True
    """`TRPO.clone` refuses the callback: cloning takes no environment steps."""

    def __init__(self, console: Console | None = None, *, interval: float = 5.0) -> None:
        super().__init__()
        self._console = console or Console(file=stream())
        self._interval = interval
        columns = ("[bold]training", BarColumn(None), MofNCompleteColumn(), "steps", TimeRemainingColumn())
        self._bar = Bar(*columns, console=self._console)
        self._live: Live | None = None
        self._last_line = -math.inf

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        total = self.params["total_steps"]
        self._task = self._bar.add_task("training", total=total, completed=int(self.model.env_steps.numpy()))
        if self._console.is_terminal:
            self._live = Live(self._view({}), console=self._console, refresh_per_second=4)
            self._live.start()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        logs = logs or {}
        self._bar.update(self._task, completed=min(logs["time/total_timesteps"], self.params["total_steps"]))
        if self._live is not None:
            self._live.update(self._view(logs))
        elif time.monotonic() - self._last_line >= self._interval:
            self._print_line(logs)

    def on_train_end(self, logs: Mapping[str, float] | None = None) -> None:
        if self._live is None and logs:
            # Explain why a line such as "10019/8192" exceeds the total.
            past = logs["time/total_timesteps"] > self.params["total_steps"]
            self._print_line(logs, "  (an iteration is trained to its end)" if past else "")
        self.release()

    def release(self) -> None:
        """Stop the live display."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _view(self, logs: Mapping[str, float]) -> Group:
        figures = Table.grid(padding=(0, 2))
        for name, label in FIGURES.items():
            figures.add_row(label, f"{logs[name]:.4g}" if name in logs else "...")
        return Group(figures, self._bar)

    def _print_line(self, logs: Mapping[str, float], remark: str = "") -> None:
        self._last_line = time.monotonic()
        left = self._bar.tasks[-1].time_remaining
        figures = [f"{label} {form(logs[name])}" for name, (label, form) in _LINE.items() if name in logs]
        if "rollout/ep_rew_mean" not in logs:
            figures.insert(0, "no episode has ended yet")
        line = (
            f"steps {logs['time/total_timesteps']:.0f}/{self.params['total_steps']}  "
            + "  ".join([*figures, f"{logs['time/fps']:.0f} steps/s"])
            + ("" if left is None else f"  {datetime.timedelta(seconds=left)} left")
            + remark
        )
        self._console.print(line, highlight=False, soft_wrap=True)
