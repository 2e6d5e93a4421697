"""Every so many environment steps, when they come in whole iterations."""

from __future__ import annotations


class EverySteps:
    """Tells when a multiple of so many steps was passed; the same whether training was resumed or not.

    Args:
      steps: >= 1.

    Raises:
      ValueError: they are less.
    """

    def __init__(self, steps: int) -> None:
        if steps < 1:
            raise ValueError(f"every_steps must be at least 1, got {steps}")
        self._steps = steps
        self._passed = 0

    def start(self, total: int) -> None:
        """Training begins, or goes on, after so many steps."""
        self._passed = total // self._steps

    def reached(self, total: int) -> bool:
        """Whether a multiple was passed since the last call."""
        passed, self._passed = self._passed, total // self._steps
        return self._passed > passed
