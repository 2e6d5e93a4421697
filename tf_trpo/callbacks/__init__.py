"""Keras callbacks: progress, TensorBoard and films of episodes, CSV, checkpoints, evaluation.

A callback may have two more methods. `fit` calls `save_on_failure()` if training failed, or a callback raised an
exception, but the agent is intact: Keras' on_train_end means that training is complete, and is not called then. `fit`
and `clone` call `release()`, to close files and the like, at their very end in any case.
"""

from tf_trpo.callbacks.episode_video import EpisodeVideo as EpisodeVideo
from tf_trpo.callbacks.every_steps import Checkpoint as Checkpoint
from tf_trpo.callbacks.every_steps import Evaluate as Evaluate
from tf_trpo.callbacks.history_csv import HistoryCSV as HistoryCSV
from tf_trpo.callbacks.progress import Progress as Progress
from tf_trpo.callbacks.stop_on_signal import StopOnSignal as StopOnSignal
from tf_trpo.callbacks.tensorboard import TensorBoard as TensorBoard
