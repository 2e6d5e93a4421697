"""Keras callbacks: progress, TensorBoard and films of episodes, CSV, checkpoints, evaluation."""

from tf_trpo.callbacks.checkpoint import Checkpoint
from tf_trpo.callbacks.episode_video import EpisodeVideo
from tf_trpo.callbacks.evaluation import Evaluate
from tf_trpo.callbacks.history_csv import HistoryCSV
from tf_trpo.callbacks.progress import Progress
from tf_trpo.callbacks.resources import ReleasesResources, SavesOnFailure
from tf_trpo.callbacks.stop_on_signal import StopOnSignal
from tf_trpo.callbacks.tensorboard import TensorBoard

__all__ = [
    "Checkpoint",
    "EpisodeVideo",
    "Evaluate",
    "HistoryCSV",
    "Progress",
    "ReleasesResources",
    "SavesOnFailure",
    "StopOnSignal",
    "TensorBoard",
]
