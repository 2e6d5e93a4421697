"""`film`: film saved policies in their environments, side by side, as a GIF.

The bodies of Gymnasium's MuJoCo environments are capsules and spheres, so they are drawn as lines with round ends. This
needs no OpenGL, which machines without a screen often lack. Other environments are rendered by their own renderers.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import mujoco
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from tf_trpo.environments import open_rendered_environment
from tf_trpo.serving.local_policy import LocalPolicy

FLOOR, GRID, SKY, TEXT, TARGET = (226, 232, 228), (196, 206, 200), (250, 250, 250), (60, 60, 60), (213, 94, 0)
NEAR, FAR = np.array([0, 114, 178]), np.array([150, 195, 220])
"""Colours of the nearest and the farthest body."""
_FLOOR_HALF_WIDTH = 4.0
"""Metres of floor in front of and behind the middle."""
_CAPSULE, _SPHERE = int(mujoco.mjtGeom.mjGEOM_CAPSULE), int(mujoco.mjtGeom.mjGEOM_SPHERE)
_COLORS, _SAMPLES = 64, 12
"""Number of colours of a film of rendered frames, and the number of frames from which they are chosen."""
_SCALE = 2
"""Pictures are drawn larger by this factor and then shrunk, for smooth edges."""


class View(NamedTuple):
    """An orthographic camera that follows a robot.

    Attributes:
      elevation: angle above the horizon from which the camera looks along y, in degrees.
      width: width of the picture in metres.
      middle: height of the picture's middle above the floor, in metres.
    """

    elevation: float
    width: float
    middle: float


VIEWS = {
    "HalfCheetah-v5": View(10, 3.4, 0.75),
    "Hopper-v5": View(10, 3.4, 0.9),
    "Walker2d-v5": View(10, 3.4, 0.9),
    "Ant-v5": View(30, 4.5, 0.6),
    "Swimmer-v5": View(90, 5.0, 0.0),
    "InvertedDoublePendulum-v5": View(10, 3.4, 0.6),
    "Reacher-v5": View(90, 0.5, 0.0),
    "Humanoid-v5": View(10, 3.4, 0.9),
}


@dataclasses.dataclass(frozen=True)
class Film:
    """Film saved policies with their most likely actions, from the beginning of an episode."""

    output: Path
    """The GIF to write."""
    environments: tuple[str, ...] = tuple(VIEWS)[:6]
    """Environments of saved_models, in rows of three."""
    models: Path = Path("saved_models")
    """Folder of the models."""
    seed: int = 0
    """Seed of the episodes."""
    seconds: float = 4.0
    """Duration of the film; if an episode ends earlier, another one begins."""
    frames_per_second: int = 20
    """Pictures per second of the environments' time."""
    size: int = 200
    """Width of a panel in pixels; its height is three quarters of it."""

    def run(self) -> None:
        """Draw all panels and write the film.

        Raises:
          ValueError: an environment cannot be filmed.
          OSError: a model is missing, or the file cannot be written.
        """
        panels = [self._panel(name) for name in self.environments]
        pictures = [_tiled(row) for row in zip(*panels, strict=True)]
        is_drawn = VIEWS.keys() >= {*self.environments}
        palette = _palette(_drawn_colors() if is_drawn else _frequent_colors(pictures))
        first, *rest = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
        duration = round(1000 / self.frames_per_second)
        first.save(self.output, save_all=True, append_images=rest, duration=duration, loop=0, optimize=True)

    def _panel(self, name: str) -> list[Image.Image]:
        times = np.arange(round(self.seconds * self.frames_per_second)) / self.frames_per_second
        size = (self.size, self.size * 3 // 4)
        policy = LocalPolicy(self.models / name)
        if name in VIEWS:
            return [picture(name, data, model, size) for model, data in _snapshots(name, policy, self.seed, times)]
        return [_resized(frame, size) for frame in _frames(name, policy, self.seed, times)]


def _snapshots(name: str, policy: LocalPolicy, seed: int, times: NDArray[np.float64]) -> Iterator[tuple[Any, Any]]:
    """Step an environment with a policy; yield MuJoCo's model and data at each of the times, in seconds."""
    environment = gym.make(name)
    observation, _ = environment.reset(seed=seed)
    robot: Any = environment.unwrapped
    now = 0.0
    for time in times:
        while now < time - 1e-9:
            action = policy.act(np.asarray(observation)[None])[0]
            observation, _, terminated, truncated, _ = environment.step(action)
            now += robot.dt
            if terminated or truncated:
                observation, _ = environment.reset()
        yield robot.model, robot.data
    environment.close()


def _frames(name: str, policy: LocalPolicy, seed: int, times: NDArray[np.float64]) -> Iterator[NDArray[np.uint8]]:
    """Step an environment with a policy; yield its rendered frame at each of the times, in seconds."""
    with open_rendered_environment(name) as environment:
        observations, _ = environment.reset(seed=seed)
        step = 0
        for time in times:
            while step < round(time * environment.metadata["render_fps"]):
                # After the end of an episode, a step resets the environment.
                observations = environment.step(policy.act(observations))[0]
                step += 1
            yield environment.render()


def _resized(frame: NDArray[np.uint8], size: tuple[int, int]) -> Image.Image:
    """Centre a frame in a picture of the given size, with the colour of its first pixel as background."""
    small = Image.fromarray(frame)
    small.thumbnail(size, Image.Resampling.LANCZOS)
    resized = Image.new("RGB", size, tuple(frame[0, 0].tolist()))
    resized.paste(small, ((size[0] - small.width) // 2, (size[1] - small.height) // 2))
    return resized


def picture(name: str, data: Any, model: Any, size: tuple[int, int]) -> Image.Image:
    """Draw a robot and its floor.

    Args:
      name: name of the environment, for the view.
      data: MuJoCo's data, with the positions of the bodies.
      model: MuJoCo's model, with the shapes of the bodies.
      size: width and height of the picture, in pixels.
    """
    view, (width, height) = VIEWS[name], (_SCALE * size[0], _SCALE * size[1])
    pixels, angle = width / view.width, math.radians(view.elevation)
    # Body 0 is the world, and body 1 the robot's trunk.
    x, y = data.xpos[1][:2]

    def projected(points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the pixels [N, 2] of points [N, 3]."""
        up = points[:, 2] * math.cos(angle) + (points[:, 1] - y) * math.sin(angle) - view.middle
        return np.stack([width / 2 + (points[:, 0] - x) * pixels, height / 2 - up * pixels], axis=1)

    image = Image.new("RGB", (width, height), SKY)
    draw = ImageDraw.Draw(image)
    _draw_floor(draw, projected, (x, y), view)
    for points, radius, shade, is_target in _capsules(model, data):
        body = tuple((NEAR + (0.0 if view.elevation == 90 else shade) * (FAR - NEAR)).astype(int))
        color = TARGET if is_target else body
        ends = projected(points)
        draw.line([*ends.ravel()], fill=color, width=max(1, round(2 * radius * pixels)))
        for u, v in ends:
            draw.ellipse(
                [u - radius * pixels, v - radius * pixels, u + radius * pixels, v + radius * pixels], fill=color
            )
    small = image.resize(size, Image.Resampling.LANCZOS)
    ImageDraw.Draw(small).text((6, 4), name, fill=TEXT)
    return small


def _draw_floor(draw: ImageDraw.ImageDraw, projected: Any, middle: tuple[float, float], view: View) -> None:
    """Draw a strip of floor with a line every metre, which shows that the robot moves."""
    x, y = middle
    left, right = x - view.width, x + view.width
    near, far = y - _FLOOR_HALF_WIDTH, y + _FLOOR_HALF_WIDTH
    corners = np.array([[left, near, 0], [right, near, 0], [right, far, 0], [left, far, 0]])
    draw.polygon([*projected(corners).ravel()], fill=FLOOR)
    across = [[[at, near, 0], [at, far, 0]] for at in range(math.ceil(left), math.floor(right) + 1)]
    along = [[[left, at, 0], [right, at, 0]] for at in range(math.ceil(near), math.floor(far) + 1)]
    for line in (*across, *along):
        draw.line([*projected(np.array(line, float)).ravel()], fill=GRID, width=_SCALE)


def _capsules(model: Any, data: Any) -> list[tuple[NDArray[np.float64], float, float, bool]]:
    """Return (ends [2, 3], radius, distance in [0, 1], is a target) of each capsule or sphere, the farthest first."""
    found = []
    for number, (kind, size) in enumerate(zip(model.geom_type, model.geom_size, strict=True)):
        if kind not in (_CAPSULE, _SPHERE):
            continue
        center, axes = data.geom_xpos[number], data.geom_xmat[number].reshape(3, 3)
        half = size[1] * axes[:, 2] if kind == _CAPSULE else np.zeros(3)
        # Walker2d's legs are in the same plane; the left one is drawn behind the right one.
        geom = model.geom(number).name
        distance = center[1] + ("left" in geom)
        found.append((np.stack([center - half, center + half]), float(size[0]), geom == "target", float(distance)))
    distances = np.array([distance for *_, distance in found])
    # If all bodies have the same distance, they count as near.
    shades = (distances - distances.min()) / max(np.ptp(distances), 0.05)
    ordered = sorted(zip(found, shades, strict=True), key=lambda each: -each[1])
    return [(ends, radius, float(shade), is_target) for (ends, radius, is_target, _), shade in ordered]


def _palette(colors: NDArray[Any]) -> Image.Image:
    """Make a palette of colours [N, 3]."""
    palette = Image.new("P", (1, 1))
    palette.putpalette(np.round(colors).astype(np.uint8).tobytes())
    return palette


def _drawn_colors() -> NDArray[np.float64]:
    """Return the colours that `picture` uses, and their blends at edges."""
    bodies = [NEAR + shade * (FAR - NEAR) for shade in (0.0, 0.35, 0.7, 1.0)]
    blends = [
        below + share * (np.array(above) - below)
        for below in (np.array(SKY), np.array(FLOOR))
        for above in (*bodies, GRID, TEXT, FLOOR)
        for share in (0.0, 0.35, 0.7, 1.0)
    ]
    return np.array([*blends, TARGET])


def _frequent_colors(pictures: Sequence[Image.Image]) -> NDArray[Any]:
    """Return the most frequent colours of some of the pictures."""
    some = _tiled(tuple(pictures[:: math.ceil(len(pictures) / _SAMPLES)]))
    found: Any = sorted(some.getcolors(some.width * some.height) or [], reverse=True)
    # Pillow distinguishes colours by the first six bits of each channel.
    distinct: dict[tuple[int, ...], tuple[int, ...]] = {}
    for _, color in found:
        distinct.setdefault(tuple(channel >> 2 for channel in color), color)
    return np.array(list(distinct.values())[:_COLORS])


def _tiled(panels: tuple[Image.Image, ...], columns: int = 3) -> Image.Image:
    """Arrange pictures of equal size in rows."""
    width, height = panels[0].size
    rows = math.ceil(len(panels) / columns)
    tiled = Image.new("RGB", (min(columns, len(panels)) * width, rows * height), SKY)
    for number, panel in enumerate(panels):
        tiled.paste(panel, (number % columns * width, number // columns * height))
    return tiled
