"""Reflections: signed permutations of a vector's components that are their own inverse."""

from __future__ import annotations

import operator
from dataclasses import dataclass

import numpy as np

from tf_trpo.lazy import tensorflow as tf
from tf_trpo.numerics.shapes import check_shapes


@dataclass(frozen=True)
class Reflection:
    """A signed permutation that is its own inverse: component i of the image is signs[i] times component sources[i].

    Args:
      sources: n positions, from 0.
      signs: n signs, each 1 or -1.

    Raises:
      ValueError: the signed permutation is not its own inverse.
    """

    sources: tuple[int, ...]
    signs: tuple[int, ...]

    def __post_init__(self) -> None:
        # Files and comparisons need Python integers, not NumPy's.
        for name in ("sources", "signs"):
            object.__setattr__(self, name, tuple(operator.index(number) for number in getattr(self, name)))
        order = sorted(self.sources) == list(range(len(self.signs))) and set(self.signs) <= {1, -1}
        if not order or any(
            self.sources[source] != position or self.signs[position] != self.signs[source]
            for position, source in enumerate(self.sources)
        ):
            raise ValueError(f"a reflection applied twice must give the original vector: {self} does not")

    @classmethod
    def from_names(cls, names: str) -> Reflection:
        """Make a reflection from the names of the components in order, separated by blanks.

        A minus before a name changes the sign of the component, and `left_NAME` and `right_NAME` are swapped. So
        "height -tilt left_knee right_knee" maps (h, t, l, r) to (h, -t, r, l).

        Raises:
          ValueError: a name occurs twice, or a left or right name has no counterpart with the same sign.
        """
        signs = {name.removeprefix("-"): -1 if name.startswith("-") else 1 for name in names.split()}
        place = {name: position for position, name in enumerate(signs)}
        partners = [_partner(name) for name in signs]
        paired = all(signs.get(partner) == sign for partner, sign in zip(partners, signs.values(), strict=True))
        if len(signs) != len(names.split()) or not paired:
            raise ValueError(
                f"each name must occur once, and each left_NAME needs a right_NAME with the same sign: {names!r}"
            )
        return cls(tuple(place[partner] for partner in partners), tuple(signs.values()))

    def __call__(self, vectors: tf.Tensor) -> tf.Tensor:
        """Compute the images [..., n] of vectors [..., n]; raise ValueError if the last size is not n."""
        check_shapes("Reflection", vectors=(vectors, f"... {len(self.signs)}"))
        return tf.gather(vectors, self.sources, axis=-1) * np.asarray(self.signs, vectors.dtype.as_numpy_dtype)

    def unsigned(self) -> Reflection:
        """Return the same permutation without signs, for quantities that have no direction."""
        return Reflection(self.sources, (1,) * len(self.signs))

    def then(self, other: Reflection) -> Reflection:
        """Concatenate two reflections: this one for the first n components, `other` for the components after them."""
        shift = len(self.sources)
        return Reflection(self.sources + tuple(shift + source for source in other.sources), self.signs + other.signs)


def _partner(name: str) -> str:
    for side, other in (("left_", "right_"), ("right_", "left_")):
        if name.startswith(side):
            return other + name.removeprefix(side)
    return name
