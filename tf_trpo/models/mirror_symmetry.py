"""The reflection of an environment, and models that respect it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf


class SignedPermutation(NamedTuple):
    """Component i of the image is signs[i] times component sources[i] of the vector.

    Attributes:
      sources: n positions.
      signs: n times 1 or -1.
    """

    sources: tuple[int, ...]
    signs: tuple[int, ...]

    @classmethod
    def from_names(cls, names: str) -> SignedPermutation:
        """Make one from the components' names, separated by blanks.

        A name after a minus changes its sign, `left_NAME` and `right_NAME` change places: both may hold.

        Raises:
          ValueError: a name stands twice, or a left one has no right one.
        """
        tokens = names.split()
        plain = [token.lstrip("-") for token in tokens]
        place = {name: position for position, name in enumerate(plain)}
        partners = [_partner(name) for name in plain]
        if len(place) != len(plain) or not place.keys() >= set(partners):
            raise ValueError(f"each name must stand once, and left_NAME beside right_NAME: {names}")
        return cls(
            tuple(place[partner] for partner in partners), tuple(-1 if token[0] == "-" else 1 for token in tokens)
        )

    def is_involution(self) -> bool:
        """Whether the image's image is the vector again."""
        if sorted(self.sources) != list(range(len(self.signs))) or not set(self.signs) <= {1, -1}:
            return False
        return all(
            self.sources[source] == position and self.signs[position] == self.signs[source]
            for position, source in enumerate(self.sources)
        )

    def __call__(self, vectors: tf.Tensor) -> tf.Tensor:
        """Images [N, n] of vectors [N, n]."""
        return tf.gather(vectors, self.sources, axis=-1) * np.asarray(self.signs, vectors.dtype.as_numpy_dtype)

    def unsigned(self) -> SignedPermutation:
        """The same exchange of places, without signs: of what belongs to a component and has no direction."""
        return SignedPermutation(self.sources, (1,) * len(self.signs))


class MirrorSymmetry(NamedTuple):
    """A reflection that an environment does not notice.

    From the mirrored observation, the mirrored action leads to the mirrored next observation with the same probability,
    and is worth the same reward. So some optimal policy does in the mirrored observation the mirror image of what it
    does in the observation, and the optimal value of both is the same. A policy and a value function of that form learn
    from each sample about its image too, and cannot get lost in a lopsided behaviour.

    Attributes:
      observations: the reflection of an observation, a vector.
      actions: that of a continuous action, or of the numbers of discrete ones (then without signs).

    Source:
      van der Pol et al. (2020), "MDP Homomorphic Networks"; Abdolhosseini et al. (2019), "On Learning Symmetric
      Locomotion".
    """

    observations: SignedPermutation
    actions: SignedPermutation

    @classmethod
    def from_config(cls, config: Sequence[Sequence[Sequence[int]]]) -> MirrorSymmetry:
        """Make it again from itself as nested sequences, which is what a saved model has of it."""
        return cls(*(SignedPermutation(*(tuple(part) for part in permutation)) for permutation in config))

    def check(self, observation_shape: Sequence[int], num_actions: int | None = None) -> None:
        """Refuse what this reflection is not one of.

        Raises:
          ValueError: other shapes of observations or actions, or no reflection at all.
        """
        if not (self.observations.is_involution() and self.actions.is_involution()):
            raise ValueError("mirrored twice, observations and actions must be as they were")
        size = len(self.observations.signs)
        if tuple(observation_shape) != (size,):
            raise ValueError(f"the mirror is one of observations of shape ({size},), not {tuple(observation_shape)}")
        if num_actions not in (None, len(self.actions.signs)):
            raise ValueError(f"the mirror is one of {len(self.actions.signs)} actions, not of {num_actions}")


def symmetrized(
    function: Callable[[tf.Tensor], tf.Tensor],
    observations: tf.Tensor,
    mirror: MirrorSymmetry | None,
    mirrored_values: Callable[[tf.Tensor], tf.Tensor] = tf.identity,
) -> tf.Tensor:
    """(f(s) + R f(M s)) / 2: the part of f that the mirror leaves as it is; without a mirror f(s).

    Args:
      function: f, from [N, n] to [N, k], each row for itself.
      observations: s [N, n].
      mirror: M, by its observations.
      mirrored_values: R, from [N, k] to [N, k].
    """
    if mirror is None:
        return function(observations)
    own, other = tf.split(function(tf.concat([observations, mirror.observations(observations)], axis=0)), 2)
    return 0.5 * (own + mirrored_values(other))


def check_bounds(actions: SignedPermutation, low: Sequence[float], high: Sequence[float]) -> None:
    """Refuse bounds that are not mirrored as the actions are.

    Raises:
      ValueError: a bound of an action is not that of its image.
    """
    for position, (source, sign) in enumerate(zip(actions.sources, actions.signs, strict=True)):
        image = (low[source], high[source]) if sign > 0 else (-high[source], -low[source])
        if not all(math.isclose(a, b) for a, b in zip((low[position], high[position]), image, strict=True)):
            raise ValueError(f"the bounds of action {position} are not the mirror image of those of action {source}")


def mirror_from_config(config: Any) -> MirrorSymmetry | None:
    """`MirrorSymmetry.from_config`, or None of None."""
    return None if config is None else MirrorSymmetry.from_config(config)


def _partner(name: str) -> str:
    for side, other in (("left_", "right_"), ("right_", "left_")):
        if name.startswith(side):
            return other + name.removeprefix(side)
    return name
