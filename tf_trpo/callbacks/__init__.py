"""Keras callbacks: progress, TensorBoard and films of episodes, CSV, checkpoints, evaluation.

If training is aborted by an exception, Keras does not call on_train_end. Instead, the trainer calls two optional
methods of each callback: `save_on_failure()` if training failed but the agent is intact, and `release()`, to close
files.
"""

from tf_trpo.callbacks.episode_video import EpisodeVideo as EpisodeVideo
from tf_trpo.callbacks.every_steps import Checkpoint as Checkpoint
from tf_trpo.callbacks.every_steps import Evaluate as Evaluate
from tf_trpo.callbacks.history_csv import HistoryCSV as HistoryCSV
from tf_trpo.callbacks.progress import Progress as Progress
from tf_trpo.callbacks.stop_on_signal import StopOnSignal as StopOnSignal
from tf_trpo.callbacks.tensorboard import TensorBoard as TensorBoard
