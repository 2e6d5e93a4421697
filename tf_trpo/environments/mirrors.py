"""Mirror symmetries of Gymnasium's environments.

A body can do to the right what it does to the left. The components of observations and actions are listed in the
environment's order, by names that say how a reflection maps them; see `Reflection.from_names`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tf_trpo.models import MirrorSymmetry


def known_mirror(env_id: str) -> MirrorSymmetry:
    """Return the mirror symmetry of an environment that is made from its Gymnasium id without arguments.

    The symmetry of the Humanoids is approximate: in their model files, the hips and knees of the two sides differ
    slightly in inertia, stiffness and range. So is InvertedPendulum's: its pole leans by a six-hundredth. The others
    are exact.

    Raises:
      ValueError: no symmetry is known; the message names the environments that have one.
    """
    # Imported here, since the processes of environments do not import TensorFlow.
    from tf_trpo.models import MirrorSymmetry

    if env_id not in _NAMES:
        raise ValueError(f"mirror: no symmetry of {env_id} is known; {', '.join(sorted(_NAMES))} have one")
    return MirrorSymmetry.from_names(*_NAMES[env_id])


def _each(things: str, parts: str) -> str:
    """Return the names THING_PART of every part of every thing, with the part's sign."""
    return " ".join(_renamed(f"{thing}_{{}}", parts) for thing in things.split())


def _of(quantity: str, names: str) -> str:
    """Return the names of another quantity of the same components; they keep their sign and their side."""
    return _renamed(f"{{}}_{quantity}", names)


def _renamed(form: str, names: str) -> str:
    return " ".join("-" * name.startswith("-") + form.format(name.removeprefix("-")) for name in names.split())


def _floating(joints: str) -> str:
    """Return the names of the positions (without x and y) and velocities of a free body with joints."""
    positions = f"height {_each('root', 'w -x y -z')} {joints}"
    return f"{positions} {_each('root', _SPATIAL_MOTION)} {_of('velocity', joints)}"


# Reflection in y: moves along x and z and turns about y keep their sign, the others change it.
_MOVE, _TURN = "move_x -move_y move_z", "-turn_x turn_y -turn_z"
_SPATIAL_MOTION, _SPATIAL = f"{_MOVE} {_TURN}", f"{_TURN} {_MOVE}"
_INERTIA = "xx yy zz -xy xz -yz offset_x -offset_y offset_z mass"

_WALKER_JOINTS = _each("right left", "thigh leg foot")

_ANT_LEGS = "left_front left_back right_back right_front"
_ANT_JOINTS = _each(_ANT_LEGS, "-hip ankle")
_ANT_BODIES = f"torso {_each(_ANT_LEGS, 'root upper lower')}"

_HUMANOID_LIMBS = (
    f"{_each('right left', 'hip_x hip_z hip_y knee')} {_each('right left', '-shoulder_1 -shoulder_2 elbow')}"
)
_HUMANOID_JOINTS = f"-abdomen_z abdomen_y -abdomen_x {_HUMANOID_LIMBS}"
_HUMANOID_BODIES = (
    f"torso waist pelvis {_each('right left', 'thigh shin foot')} {_each('right left', 'upper_arm lower_arm')}"
)
_HUMANOID = (
    " ".join(
        (
            _floating(_HUMANOID_JOINTS),
            _of("inertia", _each(_HUMANOID_BODIES, _INERTIA)),
            _of("velocity", _each(_HUMANOID_BODIES, _SPATIAL)),
            _of("torque", _HUMANOID_JOINTS),
            _of("contact", _each(_HUMANOID_BODIES, _SPATIAL)),
        )
    ),
    # The motors of the abdomen have another order than its joints.
    f"abdomen_y -abdomen_z -abdomen_x {_HUMANOID_LIMBS}",
)

_NAMES = {
    "Acrobot-v1": ("cos_1 -sin_1 cos_2 -sin_2 -velocity_1 -velocity_2", "left_torque none right_torque"),
    "Ant-v5": (
        f"{_floating(_ANT_JOINTS)} {_of('contact', _each(_ANT_BODIES, _SPATIAL))}",
        _each("right_front left_front left_back right_back", "-hip ankle"),
    ),
    "CartPole-v1": ("-position -velocity -angle -angular_velocity", "left_push right_push"),
    "Humanoid-v5": _HUMANOID,
    "HumanoidStandup-v5": _HUMANOID,
    "InvertedDoublePendulum-v5": (
        "-position -sin_1 -sin_2 cos_1 cos_2 -velocity -velocity_1 -velocity_2 -constraint_force",
        "-force",
    ),
    "InvertedPendulum-v5": ("-position -angle -velocity -angular_velocity", "-force"),
    "Pendulum-v1": ("cos -sin -velocity", "-torque"),
    "Reacher-v5": (
        "cos_1 cos_2 -sin_1 -sin_2 target_x -target_y -velocity_1 -velocity_2 to_target_x -to_target_y",
        "-torque_1 -torque_2",
    ),
    "Swimmer-v5": (
        "-heading -joint_1 -joint_2 move_x -move_y -turn -velocity_1 -velocity_2",
        "-torque_1 -torque_2",
    ),
    "Walker2d-v5": (
        f"height angle {_WALKER_JOINTS} move_x move_z turn {_of('velocity', _WALKER_JOINTS)}",
        _WALKER_JOINTS,
    ),
}
