"""Training: an agent, the loop that trains it, and what keeps the agent on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tf_trpo.lazy import exports

if TYPE_CHECKING:
    from tf_trpo.training.agent import Agent
    from tf_trpo.training.checkpoint import CheckpointError
    from tf_trpo.training.faults import TrainingFailedError
    from tf_trpo.training.learner import Learner
    from tf_trpo.training.loading import load
    from tf_trpo.training.settings import UpdateSettings
    from tf_trpo.training.trainer import Trainer
    from tf_trpo.training.trpo import TRPO

__all__ = [
    "TRPO",
    "Agent",
    "CheckpointError",
    "Learner",
    "Trainer",
    "TrainingFailedError",
    "UpdateSettings",
    "load",
]

__getattr__ = exports(
    __name__,
    {
        "TRPO": "trpo",
        "Agent": "agent",
        "CheckpointError": "checkpoint",
        "Learner": "learner",
        "Trainer": "trainer",
        "TrainingFailedError": "faults",
        "UpdateSettings": "settings",
        "load": "loading",
    },
)
