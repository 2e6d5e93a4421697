"""What a check of an environment finds: records with a severity, what is wrong, and what to do."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

Severity = Literal["error", "warning"]
"""An error prevents training. With a warning, training works, and something about it will be worse or surprising."""

WRAPPER = "a wrapper (--wrapper module:Class)"
"""How advice names one."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that is wrong with an environment.

    Attributes:
      severity: whether it prevents training.
      name: short and fixed, such as "unbounded-actions", for programs.
      what: what is wrong and what it does to training, as a sentence.
      advice: what to do, as a sentence.
    """

    severity: Severity
    name: str
    what: str
    advice: str


@dataclasses.dataclass(frozen=True)
class EnvironmentReport:
    """All findings about an environment, and what a training will look like.

    Attributes:
      findings: errors first.
      facts: what was measured and what will be made, by a label: spaces, distribution, network, episodes, speed.
    """

    findings: tuple[Finding, ...]
    facts: Mapping[str, str]

    @property
    def prevents_training(self) -> bool:
        """Whether one of the findings is an error."""
        return any(finding.severity == "error" for finding in self.findings)


def error(name: str, what: str, advice: str) -> Finding:
    """Make a finding that prevents training."""
    return Finding("error", name, what, advice)


def warning(name: str, what: str, advice: str) -> Finding:
    """Make a finding with which training works."""
    return Finding("warning", name, what, advice)
