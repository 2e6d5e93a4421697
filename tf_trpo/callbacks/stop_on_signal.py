"""End training between two iterations after Ctrl-C or SIGTERM."""

from __future__ import annotations

import signal
import threading
from collections.abc import Mapping
from types import FrameType
from typing import Any

import keras

from tf_trpo.messages import say


class StopOnSignal(keras.callbacks.Callback):
    """Finishes the current iteration after SIGINT or SIGTERM, and then stops training. Put it first.

    A `Checkpoint` is then written at once.

    A second signal ends training immediately, by KeyboardInterrupt. `TRPO.fit` restores the previous handlers by
    `release`, after all callbacks have ended. Outside of the main thread, where Python allows no signal handlers, this
    callback does nothing.

    Attributes:
      received: number of the last signal; None if there was none.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        super().__init__()
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        self.received = None
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._receive) for number in self.SIGNALS}

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        if self.received is not None:
            self.model.stop_training = True
            self.params["interrupted"] = True

    def release(self) -> None:
        """Restore the previous signal handlers."""
        while self._before:
            signal.signal(*self._before.popitem())

    def _receive(self, number: int, frame: FrameType | None) -> None:
        before, self.received = self.received, number
        if before is not None:
            raise KeyboardInterrupt
        say(f"\n{signal.Signals(number).name}: finishing the iteration; repeat to end immediately")
