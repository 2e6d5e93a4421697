"""Signed permutations of a vector's components that are their own inverse."""

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
      signs: n times 1 or -1.

    Raises:
      ValueError: applied twice, it would not give the vector again.
    """

    sources: tuple[int, ...]
    signs: tuple[int, ...]

    def __post_init__(self) -> None:
        # Files and comparisons need Python's own integers, not those of arrays.
        for name in ("sources", "signs"):
            object.__setattr__(self, name, tuple(operator.index(number) for number in getattr(self, name)))
        order = sorted(self.sources) == list(range(len(self.signs))) and set(self.signs) <= {1, -1}
        if not order or any(
            self.sources[source] != position or self.signs[position] != self.signs[source]
            for position, source in enumerate(self.sources)
        ):
            raise ValueError(f"a reflection that is applied twice must give the vector again: {self} does not")

    @classmethod
    def from_names(cls, names: str) -> Reflection:
        """Make a reflection from the components' names, in their order, separated by blanks.

        A minus before a name changes the component's sign. `left_NAME` and `right_NAME` change places. So
        "height -tilt left_knee right_knee" takes (h, t, l, r) to (h, -t, r, l).

        Raises:
          ValueError: a name stands twice, or a left name has no right name of the same sign.
        """
        signs = {name.removeprefix("-"): -1 if name.startswith("-") else 1 for name in names.split()}
        place = {name: position for position, name in enumerate(signs)}
        partners = [_partner(name) for name in signs]
        paired = all(signs.get(partner) == sign for partner, sign in zip(partners, signs.values(), strict=True))
        if len(signs) != len(names.split()) or not paired:
            raise ValueError(
                f"each name must stand once, and left_NAME next to a right_NAME of the same sign: {names!r}"
            )
        return cls(tuple(place[partner] for partner in partners), tuple(signs.values()))

    def __call__(self, vectors: tf.Tensor) -> tf.Tensor:
        """Compute the images [..., n] of vectors [..., n]; raise ValueError if the last size is not n."""
        check_shapes("Reflection", vectors=(vectors, f"... {len(self.signs)}"))
        return tf.gather(vectors, self.sources, axis=-1) * np.asarray(self.signs, vectors.dtype.as_numpy_dtype)

    def unsigned(self) -> Reflection:
        """Make the same exchange of places without signs, for quantities that have no direction."""
        return Reflection(self.sources, (1,) * len(self.signs))

    def then(self, other: Reflection) -> Reflection:
        """Join two reflections: of the first n components by this one, of the components after them by `other`."""
        shift = len(self.sources)
        return Reflection(self.sources + tuple(shift + source for source in other.sources), self.signs + other.signs)


def _partner(name: str) -> str:
    for side, other in (("left_", "right_"), ("right_", "left_")):
        if name.startswith(side):
            return other + name.removeprefix(side)
    return name
