"""Behavioural cloning: maximise the likelihood of demonstrated actions, and fit the value function to their returns."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_trpo.demonstrations import Demonstrations, read
from tf_trpo.estimation import rewards_to_go
from tf_trpo.learning.minibatches import fit_in_minibatches
from tf_trpo.learning.signals import as_floats
from tf_trpo.numerics import chunk_size_for, map_over_chunks, merged, random_orders
from tf_trpo.optimizers import Shown
from tf_trpo.ranges import check_types, check_whole_numbers, require
from tf_trpo.rollouts import Rollout
from tf_trpo.training.callback_list import Callbacks, list_of, released, with_history
from tf_trpo.training.checks import in_this_thread
from tf_trpo.training.compiled_agent import CompiledAgent
from tf_trpo.training.identity import check_compiled, check_unchanged

_VALUE_ROUNDS = 4
"""Number of fits of the value function, whose targets bootstrap from the values of the fit before."""


class Imitator(CompiledAgent):
    """An agent that can learn from demonstrations; for arguments, see `Agent`."""

    def imitate(self, demonstrations: Any) -> None:
        """Set the demonstrations that the policy optimizer imitates during training; see `DemonstrationBonus`.

        It is best to clone the same demonstrations first. A fit can be resumed with the same demonstrations only. A
        loaded agent needs them again.

        Args:
          demonstrations: as for `clone`.

        Raises:
          ValueError: the agent is not compiled, the policy optimizer does not imitate, the spaces are not the agent's,
            or the agent has a memory.
        """
        check_compiled(self)
        require(self.policy_optimizer.imitates, "demonstration_weight", "positive in order to imitate", 0.0)
        rollout = self._rollout_of(demonstrations)
        valid = rollout.valid
        samples = tf.nest.map_structure(lambda rows: rows[:-1][valid], rollout.observations), rollout.actions[valid]
        self.shown = Shown(*tf.nest.map_structure(lambda rows: tf.Variable(rows, trainable=False), samples))
        self.compile()

    def clone(
        self,
        demonstrations: Any,
        epochs: int = 200,
        *,
        minibatch_size: int = 128,
        learning_rate: float = 1e-3,
        held_out: float = 0.1,
        seed: int = 0,
        callbacks: Callbacks = None,
        verbose: int = 1,
    ) -> keras.callbacks.History:
        """Clone demonstrations: maximise their actions' likelihood with Adam, and fit the value function to returns.

        Observation statistics are computed first, as in training. The weights of the epoch with the lowest loss on the
        held-out episodes are kept; without held-out episodes, those with the lowest training loss. A learned standard
        deviation becomes that of the demonstrated actions, so that the first updates explore near them; a scheduled
        one is unchanged. The value function is fitted to the discounted returns, so that the first updates start with
        the values of the clone. Cloning counts neither as steps nor as iterations. If an exception ends it, including
        an interruption or an exception of a callback, the agent is unchanged.

        Args:
          demonstrations: `Demonstrations`, or what `tf_trpo.demonstrations.read` takes.
          epochs: passes over the episodes that are not held out, >= 1.
          minibatch_size: samples per minibatch, >= 1.
          learning_rate: Adam's, positive and finite.
          held_out: share of the episodes to hold out, in [0, 1); rounded up, but one episode is left.
          seed: chooses these episodes, and the orders of the samples.
          callbacks: Keras callbacks, a list or one; an epoch is a pass. `Progress`, `Checkpoint` and `Evaluate` count
            environment steps, so they are for `fit` only.
          verbose: 1 shows progress, 0 nothing.

        Returns:
          A Keras History: "loss" and, if episodes are held out, "val_loss", mean -log pi(a|s) in nats; NaN if the pass
          was undone, because numbers were not finite.

        Raises:
          TypeError: a number is of another type.
          ValueError: a setting is out of range, a callback is for `fit` only, the spaces are not the agent's, the agent
            has a memory or costs or is not compiled, another thread uses the agent, or the likelihood of the
            demonstrated actions is never finite.
        """
        check_whole_numbers(epochs=epochs, minibatch_size=minibatch_size)
        check_whole_numbers(lowest=0, seed=seed)
        check_types(learning_rate=(learning_rate, float), held_out=(held_out, float))
        require(0 < learning_rate < math.inf, "learning_rate", "positive and finite", learning_rate)
        require(0 <= held_out < 1, "held_out", "in [0, 1)", held_out)
        given = list_of(callbacks)
        for callback in given:
            if getattr(callback, "needs_steps", False):
                raise ValueError(f"{type(callback).__name__} is a callback of fit: cloning takes no environment steps")
        check_unchanged(self)
        if self.costs:
            raise ValueError("an agent with costs cannot be cloned: demonstrations do not show what an action costs")
        rollout = self._rollout_of(demonstrations)
        listed = keras.callbacks.CallbackList(
            with_history(given), add_progbar=verbose > 0, model=self, verbose=verbose, epochs=epochs, steps=1
        )
        with in_this_thread(self):
            before = self.learner.state()
            try:
                cloning = _Cloning(self, rollout, minibatch_size, learning_rate, held_out, np.random.default_rng(seed))
                self._clone(cloning, epochs, listed)
            except BaseException:
                # An interruption, too, would leave new statistics under old weights, or a policy without its values.
                self.learner.restore(before)
                raise
            if self.average is not None:
                self.average.restart()
        return self.history

    def _clone(self, cloning: _Cloning, epochs: int, callbacks: keras.callbacks.CallbackList) -> None:
        self.stop_training = False
        with released(callbacks):
            callbacks.on_train_begin()
            cloning.fit_policy(epochs, callbacks)
            # EarlyStopping restores all weights of the agent here.
            callbacks.on_train_end()
        cloning.fit_value_function()

    def _rollout_of(self, demonstrations: Any) -> Rollout:
        if self.policy.memory is not None:
            raise ValueError("an agent with a memory cannot imitate: nothing shows what it would remember")
        shown = demonstrations if isinstance(demonstrations, Demonstrations) else read(demonstrations)
        return shown.rollout(self.policy)


class _Cloning:
    """Fits an agent to demonstrations; the arguments are those of `Imitator.clone`."""

    def __init__(
        self,
        agent: CompiledAgent,
        rollout: Rollout,
        minibatch_size: int,
        learning_rate: float,
        held_out: float,
        rng: np.random.Generator,
    ) -> None:
        self._agent = agent
        self._policy = agent.policy
        self._rng = rng
        self._minibatch_size = minibatch_size
        self._rollout = rollout
        self._prepared = agent.learner.prepare(self._rollout, agent.learner.first_carry(1))[0]
        self._policy.encoder.update_normalization(self._prepared.policy_statistics)
        self._rows, self._held_out_rows = self._split(held_out)
        self._optimizer = keras.optimizers.Adam(learning_rate)
        self._optimizer.build(self._policy.trainable_variables)
        self._pass = tf.function(self._one_pass, autograph=False)
        self._loss = tf.function(self._mean_loss, autograph=False)

    def fit_policy(self, epochs: int, callbacks: keras.callbacks.CallbackList) -> None:
        """Fit the policy, and keep the weights of the best epoch."""
        best = self._policy.flat_weights
        least = math.inf
        for epoch in range(epochs):
            callbacks.on_epoch_begin(epoch)
            logs = {"loss": float(self._pass(random_orders(1, len(self._rows), self._rng)))}
            if len(self._held_out_rows):
                logs["val_loss"] = float(self._loss(self._held_out_rows))
            judged = logs.get("val_loss", logs["loss"])
            if judged < least:
                least, best = judged, self._policy.flat_weights
            # Keras takes NaN, the loss of a pass that was undone, for the best value so far.
            callbacks.on_epoch_end(epoch, {name: loss for name, loss in logs.items() if math.isfinite(loss)})
            if self._agent.stop_training:
                break
        if not math.isfinite(least):
            raise ValueError("the likelihood of the demonstrated actions was never finite")
        self._policy.assign_flat_weights(best)

    def fit_value_function(self) -> None:
        """Fit the value function to discounted returns; truncated episodes bootstrap from their final observation."""
        learner, steps = self._agent.learner, as_floats(self._rollout)
        observations = tf.nest.map_structure(merged, self._rollout.observations)
        flags = steps.terminated, steps.truncated, steps.valid
        gamma, size = self._agent.update_settings.gamma, len(steps.rewards)
        (samples,) = self._prepared.values
        for _ in range(_VALUE_ROUNDS):
            values = map_over_chunks(self._agent.value_function, observations, self._chunk_size)[:, None]
            targets = rewards_to_go(samples.rewards, values, *flags, gamma=gamma)
            shown = samples._replace(values=values[:-1, 0], targets=targets[:, 0])
            learner.fit_value_functions(self._prepared._replace(values=(shown,)), learner.orders(size, 1, self._rng))

    def _split(self, held_out: float) -> tuple[np.ndarray, np.ndarray]:
        """Choose whole episodes to hold out; return the rows of the other episodes, and of the held-out ones."""
        steps = self._rollout.valid[:, 0]
        # The row after an episode's end is not a step.
        of_episode = np.cumsum(~steps) - ~steps
        count = of_episode[-1] + 1
        number = min(count - 1, math.ceil(held_out * count))
        chosen = np.isin(np.arange(count), self._rng.permutation(count)[:number])
        of_rows = chosen[of_episode]
        fitted, left_out = (np.flatnonzero(steps & rows).astype(np.int32) for rows in (~of_rows, of_rows))
        return fitted, left_out

    @property
    def _chunk_size(self) -> int:
        return self._agent.update_settings.chunk_size or chunk_size_for(self._prepared.batch.observations)

    def _one_pass(self, orders: tf.Tensor) -> tf.Tensor | None:
        def loss(rows: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
            losses = self._losses(tf.gather(self._rows, rows))
            return tf.math.divide_no_nan(tf.reduce_sum(weights * losses), tf.reduce_sum(weights))

        return fit_in_minibatches(
            loss,
            self._policy.trainable_variables,
            self._optimizer,
            tf.ones([len(self._rows)]),
            orders=orders,
            minibatch_size=self._minibatch_size,
        )

    def _mean_loss(self, rows: tf.Tensor) -> tf.Tensor:
        return tf.reduce_mean(map_over_chunks(self._losses, rows, self._chunk_size))

    def _losses(self, rows: tf.Tensor) -> tf.Tensor:
        """Compute -log pi(a|s) of some rows [M], in nats."""
        batch = self._prepared.batch
        observations = tf.nest.map_structure(lambda part: tf.gather(part, rows), batch.observations)
        parameters = self._policy.distribution_parameters(observations)
        return -self._policy.action_distribution.log_prob(parameters, tf.gather(batch.actions, rows))
