"""Training: the agent, its training loop, and its files and checkpoints."""

from typing import TYPE_CHECKING

from tf_trpo.lazy import exports

if TYPE_CHECKING:
    from tf_trpo.training.agent import Agent as Agent
    from tf_trpo.training.checkpoint import CheckpointError as CheckpointError
    from tf_trpo.training.cloning import Imitator as Imitator
    from tf_trpo.training.compiled_agent import CompiledAgent as CompiledAgent
    from tf_trpo.training.faults import TrainingFailedError as TrainingFailedError
    from tf_trpo.training.loading import load as load
    from tf_trpo.training.trainer import Trainer as Trainer
    from tf_trpo.training.trpo import TRPO as TRPO
else:
    __getattr__, __dir__, __all__ = exports(__name__, __file__)
