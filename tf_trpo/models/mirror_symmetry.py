"""The reflection of an environment, and models that respect it."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tf_trpo.estimation import Moments


@dataclass(frozen=True)
class Reflection:
    """A signed permutation that is its own inverse: component i of the image is signs[i] times component sources[i].

    Args:
      sources: n positions, from 0.
      signs: n times 1 or -1.

    Raises:
      ValueError: applied twice, it would not give the vector again.
    """

    sources: tuple[int, ...]
    signs: tuple[int, ...]

    def __post_init__(self) -> None:
        # Files, and comparisons, know nothing of arrays and their kinds of integers.
        for name in ("sources", "signs"):
            object.__setattr__(self, name, tuple(operator.index(number) for number in getattr(self, name)))
        order = sorted(self.sources) == list(range(len(self.signs))) and set(self.signs) <= {1, -1}
        if not (order and self._is_own_inverse()):
            raise ValueError(f"applied twice, a reflection gives the vector again: not {self}")

    def _is_own_inverse(self) -> bool:
        return all(
            self.sources[source] == position and self.signs[position] == self.signs[source]
            for position, source in enumerate(self.sources)
        )

    @classmethod
    def from_names(cls, names: str) -> Reflection:
        """Make one from the components' names, in their order, separated by blanks.

        A minus before a name changes the component's sign. `left_NAME` and `right_NAME` change places. So
        "height -tilt left_knee right_knee" takes (h, t, l, r) to (h, -t, r, l).

        Raises:
          ValueError: a name stands twice, or a left one has no right one of the same sign.
        """
        signs = {name.removeprefix("-"): -1 if name.startswith("-") else 1 for name in names.split()}
        place = {name: position for position, name in enumerate(signs)}
        partners = [_partner(name) for name in signs]
        paired = all(signs.get(partner) == sign for partner, sign in zip(partners, signs.values(), strict=True))
        if len(signs) != len(names.split()) or not paired:
            raise ValueError(
                f"each name must stand once, and left_NAME beside a right_NAME of the same sign: {names!r}"
            )
        return cls(tuple(place[partner] for partner in partners), tuple(signs.values()))

    def __call__(self, vectors: tf.Tensor) -> tf.Tensor:
        """Images [..., n] of vectors [..., n]."""
        return tf.gather(vectors, self.sources, axis=-1) * np.asarray(self.signs, vectors.dtype.as_numpy_dtype)

    def unsigned(self) -> Reflection:
        """The same exchange of places, without signs: of what belongs to a component and has no direction."""
        return Reflection(self.sources, (1,) * len(self.signs))

    def symmetric(self, moments: Moments) -> Moments:
        """Moments of samples and of their images together, from those of the samples (mean and variance [n])."""
        mean, variance = moments.mean, moments.variance
        image, spread = self(mean), self.unsigned()(variance)
        return Moments(0.5 * (mean + image), 0.5 * (variance + spread) + tf.square(0.5 * (mean - image)), moments.count)


@dataclass(frozen=True)
class MirrorSymmetry:
    """A reflection that an environment does not notice.

    From the mirrored observation, the mirrored action leads to the mirrored next observation with the same probability,
    and is worth the same reward. So some optimal policy does in the mirrored observation the mirror image of what it
    does in the observation, and the optimal value of both is the same. A policy and a value function of that form learn
    from each sample about its image too, and prefer no side.

    Their limit is an observation that is its own image, as that of a body standing with its legs side by side. Either
    leg may go first, and a random choice of one would do, but the mean of a symmetric Gaussian moves both alike. So it
    is worth trying, not always better.

    Each call of a model computes twice the rows.

    Args:
      observations: the reflection of an observation, a vector.
      actions: that of a continuous action, or of the numbers of discrete ones, counted from 0 (then without signs).

    Source:
      van der Pol et al. (2020), "MDP Homomorphic Networks"; Abdolhosseini et al. (2019), "On Learning Symmetric
      Locomotion".
    """

    observations: Reflection
    actions: Reflection

    def check_actions(self, low: Sequence[float], high: Sequence[float]) -> None:
        """Refuse actions that this is no reflection of.

        Args:
          low: lower bound of each action, or -inf.
          high: upper bounds.

        Raises:
          ValueError: another number of them, or a bound that is not the image of its image's.
        """
        if len(low) != len(self.actions.signs):
            raise ValueError(f"the mirror is one of {len(self.actions.signs)} actions, not of {len(low)}")
        for position, (source, sign) in enumerate(zip(self.actions.sources, self.actions.signs, strict=True)):
            image = (low[source], high[source]) if sign > 0 else (-high[source], -low[source])
            if not all(math.isclose(a, b) for a, b in zip((low[position], high[position]), image, strict=True)):
                raise ValueError(f"the bounds of action {position} are not the image of those of action {source}")

    def get_config(self) -> dict[str, Any]:
        """All there is, as lists of integers by name."""
        return {
            name: {"sources": list(reflection.sources), "signs": list(reflection.signs)}
            for name, reflection in (("observations", self.observations), ("actions", self.actions))
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> MirrorSymmetry:
        """Make it again."""
        return cls(**{name: Reflection(**reflection) for name, reflection in config.items()})


def checked_mirror(mirror: MirrorSymmetry | None, observation_shape: Sequence[int]) -> MirrorSymmetry | None:
    """The mirror, if it is one of such observations, or None.

    Raises:
      TypeError: it is none.
      ValueError: it is one of other observations.
    """
    if mirror is None:
        return None
    if not isinstance(mirror, MirrorSymmetry):
        raise TypeError(f"mirror must be a MirrorSymmetry, as of tf_trpo.environments.known_mirror(id), not {mirror!r}")
    size = len(mirror.observations.signs)
    if tuple(observation_shape) != (size,):
        raise ValueError(f"the mirror is one of observations of shape ({size},), not {tuple(observation_shape)}")
    return mirror


def with_mirror(config: dict[str, Any]) -> dict[str, Any]:
    """A model's config, with the mirror in the place of its config, where it has one."""
    if config.get("mirror") is not None:
        config = {**config, "mirror": MirrorSymmetry.from_config(config["mirror"])}
    return config


def symmetrized(
    function: Callable[[tf.Tensor], tf.Tensor],
    observations: tf.Tensor,
    mirror: MirrorSymmetry | None,
    image: Callable[[tf.Tensor, Reflection], tf.Tensor],
) -> tf.Tensor:
    """(f(s) + R f(M s)) / 2: the part of f that the mirror leaves as it is; without a mirror f(s).

    Args:
      function: f, from [N, n] to [N, k], each row for itself.
      observations: s [N, n].
      mirror: M, by its observations.
      image: R, from [N, k] and the mirror's actions to [N, k].
    """
    if mirror is None:
        return function(observations)
    own, other = tf.split(function(tf.concat([observations, mirror.observations(observations)], axis=0)), 2)
    return 0.5 * (own + image(other, mirror.actions))


def _partner(name: str) -> str:
    for side, other in (("left_", "right_"), ("right_", "left_")):
        if name.startswith(side):
            return other + name.removeprefix(side)
    return name
