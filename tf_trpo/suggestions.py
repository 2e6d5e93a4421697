"""Suggest a known name for a mistyped one, or for one that another library uses."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from types import MappingProxyType

SYNONYMS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "batch_size": ("minibatch_size",),
        "cg_max_steps": ("cg_iterations",),
        "ent_coef": ("entropy_coefficient",),
        "enviroment": ("env",),
        "environment": ("env",),
        "gae_lam": ("gae_lambda",),
        "lam": ("gae_lambda",),
        "logdir": ("run_dir",),
        "line_search_max_iter": ("max_backtracks",),
        "line_search_shrinking_factor": ("backtrack_ratio",),
        "lr": ("learning_rate",),
        "n_critic_updates": ("value_epochs",),
        "n_envs": ("num_envs",),
        "n_epochs": ("ppo_epochs", "value_epochs"),
        "n_steps": ("num_steps",),
        "net_arch": ("hidden_sizes",),
        "output": ("run_dir",),
        "steps": ("total_steps",),
        "sub_sampling_factor": ("curvature_fraction",),
        "target_kl": ("max_kl",),
        "timesteps": ("total_steps", "steps"),
        "total_timesteps": ("total_steps", "steps"),
        "verbose": ("quiet",),
    }
)
"""Names that users of Stable-Baselines3 and Gymnasium know, or that are often mistaken -> the names, or some words of
the names, that mean the same here; the first one that is known counts."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that a mistyped one most probably means; None if none is similar.

    Names that mean the same come first, then names with all its words, then names that are spelled like it. Hyphens and
    underscores are equal.

    Args:
      name: the mistyped name.
      known: names; of those that fit equally well, the first is returned.
    """
    known = list(known)
    found = same_meaning(name, known)
    if found is None:
        # Short ones are spelled like too many other words.
        others = {other: same for other in SYNONYMS if len(other) > 5 and (same := same_meaning(other, known))}
        spelled = others | {_plain(each): each for each in known}
        found = next((spelled[close] for close in difflib.get_close_matches(_plain(name), spelled, n=1)), None)
    return found


def nearest_hint(name: str, known: Iterable[str]) -> str:
    """Return the end of a message that suggests the known name nearest to a mistyped one; empty if there is none."""
    near = nearest(name, known)
    return "" if near is None else f"; the nearest is {near}"


def same_meaning(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is a synonym of another name, or has all its words; None if there is none.

    Of several, it is the first with the fewest words.
    """
    names = {_plain(each): each for each in known}
    for wanted in (*SYNONYMS.get(_plain(name), ()), _plain(name)):
        words = {*wanted.split("_")}
        having = [each for each in names if words <= {*each.split("_")}]
        if having:
            return names[min(having, key=lambda each: each.count("_"))]
    return None


def _plain(name: str) -> str:
    return name.strip("-").replace("-", "_")
