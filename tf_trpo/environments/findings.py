"""Results of a check of an environment: findings, each with a severity, what is wrong, and what to do."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

Severity = Literal["error", "warning"]
"""An error prevents training. With a warning, training works, but is worse or surprising in some way."""

WRAPPER = "a wrapper (--wrapper module:Class)"
"""How advice refers to a wrapper."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that is wrong with an environment.

    Attributes:
      severity: whether the finding prevents training.
      name: a short, fixed name for programs, such as "unbounded-actions".
      what: what is wrong and how it affects training, as a sentence.
      advice: what to do, as a sentence.
    """

    severity: Severity
    name: str
    what: str
    advice: str


@dataclasses.dataclass(frozen=True)
class EnvironmentReport:
    """All findings about an environment, and facts about it and its default agent.

    Attributes:
      findings: the findings, errors first.
      facts: descriptions by label: the spaces, the default distribution and network, the episodes, the speed.
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
    """Make a finding that does not prevent training."""
    return Finding("warning", name, what, advice)
