"""Convert Gymnasium's observation spaces to specs."""

from __future__ import annotations

from gymnasium import spaces

from tf_trpo.spaces.specs import PartSpec, Spec, is_image, named, parts

ACTION_MASK = "action_mask"
"""Key of the action mask in a Dict observation: 1 for each allowed choice, else 0."""
MOST_INPUTS = 10_000
"""Maximum number of inputs for the choices of all Discrete and MultiDiscrete parts; with so many, 2,048 observations
take 80 MB."""


def observation_spec(space: spaces.Space) -> Spec:
    """Return the spec of an observation space.

    Args:
      space: a Box, Discrete, MultiDiscrete or MultiBinary space, or a nested Dict or Tuple of these.

    Raises:
      ValueError: a part has no fixed size or is empty, a name cannot be used in a network or an exported model, or
        there are more choices than `MOST_INPUTS`; the message says what to do.
    """
    spec = _spec(space, "")
    # Equal names of parts are refused here, and not only when the agent is exported.
    named("observations", spec)
    choices = sum(sum(part.sizes) for _, part in parts(spec))
    if choices > MOST_INPUTS:
        raise ValueError(
            f"the observation has {choices} choices, each an input of the network, and may have {MOST_INPUTS}: turn "
            "them into a few numbers by a wrapper, or into a Box of integers for an own network with an Embedding"
        )
    return spec


def is_text(space: spaces.Space) -> bool:
    """Return whether the elements of a space are text, as in Text and in MiniGrid's MissionSpace."""
    return isinstance(space, spaces.Text) or (space.dtype is not None and space.dtype.kind == "U")


def _spec(space: spaces.Space, place: str) -> Spec:
    where, below = (f"{place} of the observation", f"{place}/") if place else ("the observation", "")
    if (isinstance(space, spaces.Dict | spaces.Tuple) and not space.spaces) or 0 in (space.shape or ()):
        raise ValueError(f"{where} is {space}, which has no number: a wrapper must leave it out, or give one")
    if isinstance(space, spaces.Dict):
        for name in space.spaces:
            if not isinstance(name, str) or not name or "/" in name:
                raise ValueError(f"{where} has the key {name!r}: rename it by a wrapper to text without a slash")
        return {
            # Only the outermost Dict may hold the mask.
            name: _mask(part) if name == ACTION_MASK and not place else _spec(part, f"{below}{name}")
            for name, part in sorted(space.spaces.items())
        }
    if isinstance(space, spaces.Tuple):
        return tuple(_spec(part, f"{below}{i}") for i, part in enumerate(space.spaces))
    if isinstance(space, spaces.Discrete):
        return PartSpec((), str(space.dtype), "one-hot", (int(space.n),), (int(space.start),))
    if isinstance(space, spaces.MultiDiscrete):
        sizes, starts = (tuple(int(number) for number in of.ravel()) for of in (space.nvec, space.start))
        return PartSpec(space.shape, str(space.dtype), "one-hot", sizes, starts)
    if isinstance(space, spaces.MultiBinary):
        return PartSpec(space.shape, str(space.dtype), "binary")
    if isinstance(space, spaces.Box) and space.dtype is not None and space.dtype.kind in "biuf":
        if is_image(space.shape, str(space.dtype)):
            return PartSpec(space.shape, str(space.dtype), "image", high=max(int(space.high.max()), 1))
        return PartSpec(space.shape, str(space.dtype), "vector")
    way_out = (
        "which is text: leave it out by tf_trpo.environments.WithoutText "
        "(--wrapper tf_trpo.environments:WithoutText), or turn it into numbers by a wrapper"
        if is_text(space)
        else "which has no fixed size: turn it into a Box by a wrapper (gymnasium.ObservationWrapper), for example by "
        "padding; Box, Discrete, MultiDiscrete, MultiBinary, and Dict and Tuple of these are supported"
    )
    raise ValueError(f"{where} is {type(space).__name__}, {way_out}")


def _mask(space: spaces.Space) -> PartSpec:
    bits = (
        isinstance(space, spaces.MultiBinary)
        or (isinstance(space, spaces.MultiDiscrete) and bool((space.nvec == 2).all() and not space.start.any()))
        or (isinstance(space, spaces.Box) and bool((space.low >= 0).all() and (space.high <= 1).all()))
    )
    if not bits:
        raise ValueError(
            f"{ACTION_MASK} of the observation is {space}, and must have 0 or 1 for each choice of each action: a "
            "MultiBinary, a Box in [0, 1] or a MultiDiscrete with two choices each; if it is not a mask, rename it"
        )
    return PartSpec(space.shape or (), str(space.dtype), "mask")
