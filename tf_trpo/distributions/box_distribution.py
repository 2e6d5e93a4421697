"""The base class of distributions of continuous actions in a box."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tf_trpo.distributions.acting import Acting
from tf_trpo.distributions.action_box import ActionBox
from tf_trpo.distributions.action_distribution import ActionDistribution
from tf_trpo.distributions.action_spaces import describe_box


class BoxDistribution(ActionDistribution):
    """A family of distributions in the coordinates of an `ActionBox`, which converts them to the environment's actions.

    Args:
      box: bounds, coordinates and dtype of the actions.
      num_outputs: number of the encoder's outputs for each observation.
      **kwargs: arguments of `keras.layers.Layer`.

    Attributes:
      box: as given.
      action_low, action_high: bounds as nested lists of the shape of one action.
      action_dtype: float dtype of the environment's actions.
    """

    def __init__(self, box: ActionBox, num_outputs: int, **kwargs: Any) -> None:
        super().__init__(num_outputs, **kwargs)
        self.box = box
        self.action_low, self.action_high = (bound.reshape(box.shape).tolist() for bound in (box.low, box.high))
        self.action_dtype = str(box.dtype)

    def to_environment(self, actions: tf.Tensor) -> tf.Tensor:
        return self.box.to_environment(actions)

    def acting(self) -> Acting:
        return self.box.environment_actions

    def from_environment(self, actions: Any) -> np.ndarray:
        return self.box.from_environment(actions)

    def describe_actions(self) -> dict[str, Any]:
        box = self.box
        return describe_box(box.low.tolist(), box.high.tolist(), box.shape, box.dtype)
