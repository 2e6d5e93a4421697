"""`cards`: film saved policies, and update the head and the foot of their cards."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from benchmarks.film import Film
from tf_trpo.experiment.model_card import ACTIONS, CARD, CARD_FOOT, FILM, card_head
from tf_trpo.files import write_whole

_STILL = ("InvertedPendulum-v5",)
"""Environments that are not filmed, because nothing would move."""
_MIDDLE = re.compile(r"^Version \d+: a policy for (?P<env>\S+), .*?^- Platform: .*?$", re.DOTALL | re.MULTILINE)
_ALGORITHM = re.compile(r"^    python .* --algorithm (\S+)", re.MULTILINE)
_COLUMNS = ("mean_return", "std_return", "mean_length", "episodes")


@dataclasses.dataclass(frozen=True)
class Cards:
    """Film the policy of each model into its folder, and update the head and the foot of its card.

    The part of the card between them, about training and evaluations, is kept.
    """

    models: Path = Path("saved_models")
    """Folder of the models."""
    only: tuple[str, ...] = ()
    """Names of models; by default all that have a card."""
    films: bool = True
    """Also film the policies."""

    def run(self) -> None:
        """Film and write, and print the path of each card.

        Raises:
          ValueError: a card was not written by `write_model_card`, or an environment cannot be filmed.
          OSError: a file cannot be read or written.
        """
        names = self.only or sorted(path.parent.name for path in self.models.glob(f"*/{CARD}"))
        for name in names:
            if self.films and name not in _STILL:
                Film(self.models / name / FILM, (name,), self.models, seconds=5.0, size=220).run()
            path = self.models / name / CARD
            write_whole(path, refreshed(path))
            print(path)


def refreshed(path: Path) -> str:
    """Return a card with a new head and foot.

    Args:
      path: path of the card.

    Raises:
      ValueError: the card was not written by `write_model_card`.
    """
    found = _MIDDLE.search(path.read_text(encoding="utf-8"))
    if found is None:
        raise ValueError(f"{path} is no card of a model")
    algorithm = _ALGORITHM.search(found[0])
    evaluations = {mode: _evaluation(found[0], actions) for mode, actions in ACTIONS.items()}
    head = card_head(path.parent, found["env"], algorithm[1] if algorithm else "trpo", evaluations, license_id="mit")
    return f"{head}\n{found[0]}\n\n{CARD_FOOT}"


def _evaluation(text: str, actions: str) -> dict[str, float] | None:
    """Read an evaluation from the table of a card; None if the table has no row for it."""
    number = r"([-+.\de]+)"
    row = re.search(rf"^\| {actions} \| {number} ± {number} \| {number} \| {number} \|$", text, re.MULTILINE)
    return None if row is None else dict(zip(_COLUMNS, map(float, row.groups()), strict=True))
