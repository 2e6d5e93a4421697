"""A run of an experiment: train, evaluate and save to a folder, or resume from its newest checkpoint."""

from __future__ import annotations

import functools
import json
import logging
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, NamedTuple

import keras
import numpy as np

from tf_trpo.callbacks import Checkpoint, EpisodeVideo, Evaluate, HistoryCSV, StopOnSignal, TensorBoard
from tf_trpo.callbacks.tensorboard import add_final_evaluation
from tf_trpo.environments import EnvironmentFailedError
from tf_trpo.experiment.evaluating import evaluation_arguments
from tf_trpo.experiment.provenance import earlier_parts, provenance
from tf_trpo.experiment.resuming import resumed
from tf_trpo.experiment.run_folder import RunFolder
from tf_trpo.experiment.settings import hyperparameters
from tf_trpo.figures.histories import read_history
from tf_trpo.files import write_whole
from tf_trpo.messages import say
from tf_trpo.training import TRPO, TrainingFailedError
from tf_trpo.training.callback_list import Callbacks, list_of
from tf_trpo.training.faults import save_after

if TYPE_CHECKING:
    from tf_trpo.experiment.experiment import Experiment


class RunNotWrittenError(OSError):
    """A run folder can no longer be written to; earlier files are unchanged."""


class TrainedRun(NamedTuple):
    """The result of a run.

    Attributes:
      agent: the agent after training.
      evaluation: mean_return, std_return, mean_length and episodes of the final evaluation; None if the run was
        stopped.
      stopped_by: the number of the signal that stopped the run; None if it was not stopped.
    """

    agent: TRPO
    evaluation: dict[str, float] | None
    stopped_by: int | None


class Run:
    """A run of an experiment. The constructor and the start of training check the settings before a folder is made.

    Args:
      experiment: all settings.
      folder: the run folder.
      resume: continue from the newest checkpoint in the folder.

    Raises:
      As `Experiment.train`.

    Attributes:
      experiment: the settings. In a resumed run, schedule_steps is such that schedules continue.
      agent: the agent that is trained.
      begun: whether training has begun, so that the folder belongs to this run.
    """

    def __init__(self, experiment: Experiment, folder: RunFolder, *, resume: bool = False) -> None:
        if not resume:
            # To make the agent takes seconds. The folder itself is made when training begins.
            folder.check_new()
        self.experiment = resumed(experiment, folder) if resume else experiment
        self.folder = folder
        self.agent = self.experiment.make_agent()
        self._made_with = provenance(self.experiment)
        self.begun = False
        self._resume = resume
        self._held = ExitStack()
        self._evaluating: Evaluate | None = None
        if self.experiment.run.video_every:
            self._video().check()

    def train(self, callbacks: Callbacks = None) -> TrainedRun:
        """Train until the end or a signal, then evaluate; see `Experiment.train`."""
        run, folder, agent = self.experiment.run, self.folder, self.agent
        with self._held, self._writing():
            if self._resume:
                self._hold_folder()
            stopped_by = self._fit(list_of(callbacks))
            agent.save(folder.agent)
            if stopped_by is not None:
                return TrainedRun(agent, None, stopped_by)
            evaluation = self._evaluate()
            steps = int(agent.env_steps.numpy())
            add_final_evaluation(folder.tensorboard, steps, evaluation["mean_return"], evaluation["std_return"])
            if run.export:
                agent.export(
                    folder.saved_model,
                    environment=self.experiment.env,
                    environment_arguments=self.experiment.environment.arguments(),
                    evaluation=evaluation,
                )
            # Last, since it makes the run complete.
            write_whole(folder.evaluation, json.dumps(evaluation) + "\n")
        return TrainedRun(agent, evaluation, None)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            # Errors of a connection are those of somebody's callback, as are subclasses such as those of requests.
            is_of_files = type(error).__module__ == "builtins" and not isinstance(error, ConnectionError | TimeoutError)
            if not (self.begun and is_of_files):
                raise
            raise RunNotWrittenError(f"{error}; older checkpoints are as they were") from error

    def _fit(self, callbacks: Sequence[keras.callbacks.Callback]) -> int | None:
        """Train until the end or a signal; return the number of the signal, or None."""
        run, rollouts, signals = self.experiment.run, self.experiment.rollouts, StopOnSignal()
        resume = self._resume and self._has_checkpoint()
        try:
            if not resume:
                self._clone()
            self.agent.fit(
                self.experiment.env,
                run.total_steps,
                num_envs=rollouts.num_envs,
                num_steps=rollouts.num_steps,
                backend=rollouts.backend,
                env_timeout=rollouts.env_timeout,
                **self.experiment.environment.arguments(),
                info_keys=self.experiment.environment.info_keys,
                restart_every=rollouts.restart_every,
                vine=self.experiment.vine,
                shards=rollouts.shards,
                workers=run.workers,
                ray_address=run.ray_address,
                allow_different_workers=run.allow_different_workers,
                update_parts=run.update_parts,
                schedule_steps=run.schedule_steps,
                seed=run.seed,
                verbose=0 if run.quiet else 1,
                max_faults=run.max_faults,
                callbacks=[signals, *self._callbacks(callbacks, resume=resume)],
                resume_from=self.folder.checkpoints if resume else None,
            )
        except KeyboardInterrupt:
            if not self.begun:
                raise
            return signals.received or signal.SIGINT
        except Exception as error:
            failed = isinstance(error, EnvironmentFailedError | TrainingFailedError)
            if self.begun and (failed or signals.params["trainer"].is_between_iterations):
                save_after(error, functools.partial(self.agent.save, self.folder.agent))
            raise
        return signals.received

    def _clone(self) -> None:
        """Clone the demonstrations, if there are any."""
        start, run = self.experiment.start, self.experiment.run
        if start.demonstrations is None:
            return
        epochs = () if start.clone_epochs is None else (start.clone_epochs,)
        losses = self.agent.clone(start.demonstrations, *epochs, seed=run.seed, verbose=0).history
        if not run.quiet:
            least = np.nanmin(losses["val_loss" if "val_loss" in losses else "loss"])
            kind = "on episodes held out" if "val_loss" in losses else "on its one episode"
            say(f"cloned {start.demonstrations}: {least:.3f} nats an action {kind}")

    def _begin(self) -> None:
        """Make the folder of a new run; in a resumed run, delete the old evaluation and write the new settings."""
        settings, made_with = self.experiment.flat(), self._made_with
        if not self._resume:
            self.folder.create(settings, **made_with)
            self._hold_folder()
        self.begun = True
        if self._resume:
            earlier = earlier_parts(self.folder.read_config(), made_with, int(self.agent.env_steps))
            # Delete it first: with the new settings, the old evaluation would mean that the run is complete.
            self.folder.evaluation.unlink(missing_ok=True)
            self.folder.write_config(settings, **made_with, earlier=earlier)

    def _hold_folder(self) -> None:
        """Lock the folder, and send the library's log messages to its events file, which the first message makes.

        They also go to stderr, unless the run is quiet or the program has handlers of its own.
        """
        self._held.enter_context(self.folder.lock())
        file = logging.FileHandler(self.folder.events, delay=True, encoding="utf-8")
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        self._held.callback(file.close)
        logger = logging.getLogger("tf_trpo")
        shown = None if logger.hasHandlers() or self.experiment.run.quiet else logging.lastResort
        for handler in filter(None, (file, shown)):
            logger.addHandler(handler)
            self._held.callback(logger.removeHandler, handler)

    def _has_checkpoint(self) -> bool:
        """Return whether there is a checkpoint; a run that was killed before its first iteration has none.

        Raises:
          ValueError: there is no checkpoint, and a new beginning would lose iterations.
        """
        if self.folder.has_checkpoint():
            return True
        if self.folder.has_iterations():
            raise ValueError(f"{self.folder.path} has iterations and no checkpoint: train again, in another folder")
        if not self.experiment.run.quiet:
            say(f"{self.folder.path} has no checkpoint and no iteration yet: it begins again")
        return False

    def _evaluate(self) -> dict[str, float]:
        env, run = self.experiment.env, self.experiment.run
        if self._evaluating is not None and (found := self._evaluating.present_result()) is not None:
            return found
        if self.folder.has_iterations() and "rollout/ep_len_mean" not in read_history(self.folder.history):
            logging.getLogger("tf_trpo").warning(
                "no episode has ended in training: if none ends in the evaluation, it takes %d steps, "
                "eval_episodes (%d) times max_episode_steps (%d; --max-episode-steps)",
                *(run.eval_episodes * run.max_episode_steps, run.eval_episodes, run.max_episode_steps),
            )
        try:
            return self.agent.evaluate(env, run.eval_episodes, **evaluation_arguments(self.experiment))
        except EnvironmentFailedError as error:
            message = f"the agent is trained and saved, but {env} failed in its evaluation: {error}"
            if "cannot be made" in str(error):
                message += "; eval_envs limits how many environments an evaluation opens"
            raise EnvironmentFailedError(message) from error

    def _callbacks(self, given: Sequence[keras.callbacks.Callback], *, resume: bool) -> list[keras.callbacks.Callback]:
        """Return the run's callbacks, with the given ones before those that write logs and checkpoints."""
        run, folder, settings = self.experiment.run, self.folder, self.experiment.flat()
        # The folder is made by the first callback: before it, fit has checked environment, settings and checkpoint.
        callbacks = [keras.callbacks.LambdaCallback(on_train_begin=lambda _: self._begin())]
        if run.eval_every:
            evaluating = {"episodes": run.eval_episodes, **evaluation_arguments(self.experiment)}
            self._evaluating = Evaluate(self.experiment.env, run.eval_every, **evaluating)
            callbacks.append(self._evaluating)
        board = TensorBoard(
            folder.tensorboard,
            hyperparameters=hyperparameters(settings),
            config={"settings": settings, "versions": self._made_with["versions"]},
            histogram_every=run.histogram_every,
            video=self._video() if run.video_every else None,
        )
        callbacks += [*given, board, HistoryCSV(folder.history, append=resume)]
        # Last, so that a checkpoint is never ahead of the logs.
        every = run.checkpoint_every
        callbacks.append(Checkpoint(folder.checkpoints, every or None, at_start=every > 0))
        return callbacks

    def _video(self) -> EpisodeVideo:
        run, making = self.experiment.run, self.experiment.environment.arguments()
        return EpisodeVideo(self.experiment.env, run.video_every, seed=run.seed, **making)
