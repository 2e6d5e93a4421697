"""Keras callbacks: progress, TensorBoard and films of episodes, CSV, checkpoints, evaluation.

If training is broken off, Keras does not call on_train_end. The trainer then calls the methods that a callback has of
these: `save_on_failure()` if training failed while the agent itself is whole, and `release()`, to close files.
"""

from tf_trpo.callbacks.episode_video import EpisodeVideo
from tf_trpo.callbacks.every_steps import Checkpoint, Evaluate
from tf_trpo.callbacks.history_csv import HistoryCSV
from tf_trpo.callbacks.progress import Progress
from tf_trpo.callbacks.stop_on_signal import StopOnSignal
from tf_trpo.callbacks.tensorboard import TensorBoard

__all__ = [
    "Checkpoint",
    "EpisodeVideo",
    "Evaluate",
    "HistoryCSV",
    "Progress",
    "StopOnSignal",
    "TensorBoard",
]
