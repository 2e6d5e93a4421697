"""An experiment is a value: settings are routed by name, converted, checked and compared."""

import ast
import collections
import dataclasses
import inspect
import itertools
import json
import os
import re
import subprocess
import sys
import textwrap
from typing import get_args, get_type_hints

import numpy as np
import pytest

import tf_trpo
from tf_trpo import Experiment, optimizers
from tf_trpo.environments import ActionMasks, VectorBackend
from tf_trpo.experiment.conversion import classes_of, fields, leaves
from tf_trpo.experiment.settings import EnvironmentSettings, RolloutSettings, RunSettings, hyperparameters
from tf_trpo.learning import UpdateSettings
from tf_trpo.models.settings import PolicySettings


def settings_classes(settings=Experiment):
    """All settings classes of an experiment, each once."""
    found = {settings}
    for field, hint in fields(settings):
        for each in classes_of(field.name, hint):
            found |= settings_classes(each)
    return found


def test_no_two_settings_of_an_experiment_share_a_name():
    """An experiment has one algorithm; others may have settings of the same name."""
    algorithms, every = set(optimizers.ALGORITHMS.values()), set()
    for algorithm in algorithms:
        leaf_names = [
            field.name
            for settings in settings_classes() - (algorithms - {algorithm})
            for field, hint in fields(settings)
            if not classes_of(field.name, hint)
        ]
        assert [name for name, count in collections.Counter(leaf_names).items() if count > 1] == []
        every |= set(leaf_names)
    assert every | {"algorithm", "radius"} == set(leaves(Experiment))


def described(settings):
    """Names of the fields with a docstring, or with a line in the docstring of the class."""
    body = ast.parse(textwrap.dedent(inspect.getsource(settings))).body[0].body
    follows = {
        field.target.id
        for field, text in itertools.pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
    }
    return follows | set(re.findall(r"^  (\w+): ", inspect.cleandoc(settings.__doc__), re.M))


@pytest.mark.parametrize("settings", sorted(settings_classes(), key=str), ids=lambda settings: settings.__name__)
def test_every_setting_is_explained_frozen_and_of_its_type_or_refused_by_name(settings):
    assert settings.__dataclass_params__.frozen
    classes = [each for each in settings.__mro__ if dataclasses.is_dataclass(each)]
    assert {field.name for field, _ in fields(settings)} <= set().union(*map(described, classes))
    for field, _ in fields(settings):
        for wrong in (object(), np.float64, (1, None)):
            with pytest.raises(ValueError, match=rf"^{field.name} must be "):
                settings(**{field.name: wrong})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: UpdateSettings(value_epochs=2.5), "value_epochs must be a whole number, got 2.5"),
        (lambda: UpdateSettings(value_epochs=True), "value_epochs must be a whole number, got True"),
        (lambda: UpdateSettings(normalize_rewards="no"), "normalize_rewards must be true or false, got 'no'"),
        (lambda: PolicySettings(hidden_sizes=64), "hidden_sizes must be a tuple of whole numbers, got 64"),
        (lambda: PolicySettings(hidden_sizes=(64.5,)), r"hidden_sizes must be a tuple of whole numbers, got \(64.5,\)"),
        (lambda: RunSettings(jit_compile="yes"), "jit_compile must be true, false or auto, got 'yes'"),
        (lambda: Experiment(run={"seed": 1}), "run must be RunSettings, got {'seed': 1}"),
    ],
)
def test_the_type_of_a_setting_is_named_in_words(make, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        make()


def test_numbers_of_numpy_are_written_to_a_run_s_settings():
    made = Experiment(run=RunSettings(seed=np.int64(1)), algorithm=optimizers.TrustRegion(np.float32(0.5)))
    assert json.loads(json.dumps(made.flat()))["seed"] == 1
    assert made == Experiment().replace(seed=1, max_kl=0.5)


def test_whole_numbers_are_numbers_and_lists_are_tuples():
    settings = PolicySettings(hidden_sizes=[np.int64(8), 4], initial_std=2, observation_min_std=np.float32(0.5))
    assert settings.hidden_sizes == (8, 4)
    assert [type(each) for each in (*settings.hidden_sizes, settings.observation_min_std)] == [int, int, float]
    assert hash(Experiment().replace(env_kwargs={"a": [1]})) == hash(Experiment().replace(env_kwargs={"a": [1]}))


def defaults_of(function):
    parameters = inspect.signature(function).parameters.values()
    return {parameter.name: parameter.default for parameter in parameters if parameter.default is not parameter.empty}


@pytest.mark.parametrize("function", [tf_trpo.TRPO.fit, tf_trpo.TRPO.compile])
def test_a_default_is_that_of_the_library(function):
    # Settings that compile does not get keep their values, which initially are the experiment's defaults.
    given = {name: value for name, value in defaults_of(function).items() if value is not None}
    shared = {name: value for name, value in given.items() if name in Experiment().flat()}
    assert shared.keys() >= ({"num_envs", "num_steps", "backend"} if function is tf_trpo.TRPO.fit else set())
    assert shared == {name: Experiment().flat()[name] for name in shared}
    assert RunSettings().eval_episodes == defaults_of(tf_trpo.TRPO.evaluate)["episodes"]
    assert get_args(get_type_hints(RolloutSettings)["backend"]) == get_args(VectorBackend)
    assert get_args(get_type_hints(EnvironmentSettings)["action_masks"]) == get_args(ActionMasks)


def test_a_change_is_routed_to_the_part_that_has_the_setting():
    made = Experiment().replace(env="Hopper-v5", max_kl=0.02, seed=3, cg_iterations=7, gamma=0.9, num_envs=4)
    assert made == Experiment(
        "Hopper-v5",
        run=RunSettings(seed=3),
        rollouts=RolloutSettings(num_envs=4),
        algorithm=optimizers.TrustRegion(0.02, direction=optimizers.NaturalDirection(cg_iterations=7)),
        update=UpdateSettings(gamma=0.9),
    )
    assert made.replace() == made != Experiment()
    assert hash(made.replace()) == hash(made)


def test_algorithm_and_radius_are_chosen_by_name_and_common_parts_are_kept():
    shared = {"cg_damping": 0.5, "max_backtracks": 3}
    made = Experiment().replace(max_kl=0.5, **shared).replace(algorithm="kl-penalty", target_kl=0.02)
    assert made.algorithm == optimizers.KLPenalty(
        target_kl=0.02,
        direction=optimizers.NaturalDirection(cg_damping=0.5),
        search=optimizers.Backtracking(max_backtracks=3),
    )
    assert made.flat() | {"algorithm": "kl-penalty", **shared} == made.flat()
    assert "max_kl" not in made.flat()
    assert Experiment().replace(max_kl=0.5, algorithm="trpo").algorithm.max_kl == 0.5
    adaptive = Experiment().replace(radius="adaptive", expand_factor=3)
    assert adaptive.algorithm.radius == optimizers.AdaptiveRadius(expand_factor=3.0)
    assert adaptive.replace(radius="adaptive") == adaptive
    assert adaptive.replace(radius="fixed") == Experiment()
    assert adaptive.flat()["radius"] == "adaptive"


@pytest.mark.parametrize("algorithm", optimizers.ALGORITHMS)
def test_flat_settings_give_the_same_experiment_again(algorithm):
    made = Experiment().replace(algorithm=algorithm, hidden_sizes=[3, 4])
    assert Experiment().replace(**made.flat()) == made
    assert made.algorithm == optimizers.ALGORITHMS[algorithm]()


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("max_kl", "1e-3", 0.001),
        ("total_steps", "1e6", 1_000_000),
        ("hidden_sizes", ["8", "4"], (8, 4)),
        ("hidden_sizes", 32, (32,)),
        ("hidden_sizes", [], ()),
        ("jit_compile", "false", False),
        ("jit_compile", "auto", "auto"),
        ("curvature_fraction", "None", None),
        ("final_std", "None", None),
        ("final_max_kl", 1, 1.0),
        ("seed", np.int64(1), 1),
        ("max_kl", np.float64(0.02), 0.02),
        ("hidden_sizes", [np.int32(8)], (8,)),
        ("normalize_rewards", np.bool_(False), False),
        ("env_kwargs", {"a": [np.int64(1)]}, {"a": [1]}),
    ],
)
def test_values_are_converted_to_the_type_of_their_setting(name, text, value):
    made = Experiment().replace(**{name: text}).flat()[name]
    assert (made, type(made)) == (value, type(value))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_kl": "small"}, "max_kl must be a number or None, got 'small'"),
        ({"max_kl": True}, "max_kl must be a number or None, got 'True'"),
        ({"final_std": [1]}, r"final_std must be a number or None, got '\[1\]'"),
        ({"total_steps": 1.5}, "total_steps must be a whole number, got '1.5'"),
        ({"hidden_sizes": [8, "x"]}, "hidden_sizes must be a tuple of whole numbers"),
        ({"backend": "ray"}, "backend must be one of sync, async, envpool, vector, got 'ray'"),
        ({"algorithm": "sac"}, "algorithm must be one of trpo, natural-policy-gradient, .*, got 'sac'"),
        ({"env": 3}, "env must be text, got"),
        ({"max_lk": 1}, "unknown settings: max_lk"),
        ({"max_kl": 0.02, "target_kl": 1}, "target_kl is a setting of kl-penalty, and does nothing in trpo"),
        ({"min_radius": 0.1}, "min_radius is a setting of radius adaptive, and does nothing in radius fixed"),
        ({"restart_every": 4, "backend": "envpool"}, "restart_every must be 0 with the backend envpool"),
        (
            {"costs": ("my_costs:far",), "backend": "vector"},
            "costs must be keys of infos with the backend vector, got my_costs:far",
        ),
        ({"restart_every": 4, "backend": "vector"}, "restart_every must be 0 with the backend vector"),
        ({"wrapper": ("gymnasium.wrappers:ClipAction",), "backend": "vector"}, "do nothing with the backend vector"),
        ({"mirror": True, "backend": "envpool"}, "mirror must be false with the backend envpool"),
        ({"final_std": 0.1, "state_dependent_std": True}, "final_std"),
        ({"normalize_observations": False, "observation_min_std": 0.5}, "observation_min_std must be 0 if"),
        ({"radius": "adaptive", "final_max_kl": 0.005}, "final_max_kl must be None if the radius adapts"),
        ({"value_function_first": True, "value_epochs": 0}, "value_function_first needs a fit of the value function"),
        ({"frame_stack": 4, "backend": "envpool"}, "wrapper, frame_stack and action_masks info do nothing with"),
        ({"segment_length": 64}, "segment_length and burn_in need a policy with a memory"),
        ({"burn_in": 1}, "segment_length and burn_in need a policy with a memory"),
        (
            {"memory": "gru", "num_steps": 128, "segment_length": 48},
            "num_steps must be a multiple of segment_length, 48, got 128",
        ),
        (
            {"memory": "gru", "burn_in": 4096},
            "burn_in must be at most num_steps - segment_length = 2048 - 64, got 4096",
        ),
        ({"memory": "gru", "preconditioner_rank": 8}, "preconditioner_rank must be 0 with a memory, got 8"),
        ({"memory": "gru", "demonstrations": "mine-v0"}, "demonstrations must be None with a memory, got 'mine-v0'"),
        ({"memory": "gru", "anchor": "a.keras"}, "anchor must be None with a memory, got 'a.keras'"),
        ({"memory": "gru", "mirror": True}, "memory and mirror exclude each other.*--no-mirror"),
        ({"frame_stack": 2, "mirror": True}, "frame_stack and mirror exclude each other.*--no-mirror"),
    ],
    ids=str,
)
def test_impossible_settings_are_refused_by_name(changes, message):
    with pytest.raises(ValueError, match=message):
        Experiment().replace(**changes)


def test_your_own_algorithm_has_no_name_and_is_refused():
    class Mine(optimizers.TrustRegion):
        pass

    with pytest.raises(ValueError, match=r"algorithm has no name for .*Mine"):
        Experiment(algorithm=Mine())


def test_hyperparameters_are_the_settings_on_which_a_result_depends():
    first = ["env", "algorithm", "max_kl", "total_steps", "seed"]
    found = hyperparameters(Experiment().flat())
    assert list(found)[:5] == first
    assert not found.keys() & {"threads", "quiet", "export", "jit_compile", "chunk_size", "eval_every"}
    assert found == {name: Experiment().flat()[name] for name in found}


def output_of(code, **given):
    """What Python prints, and its messages, without TensorFlow's variables of this process."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TF_")} | given
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True, env=environment)
    return done.stdout, done.stderr


def test_importing_the_package_keeps_tensorflow_from_logging_errors_about_missing_gpus():
    code = "import os, tf_trpo; print(os.environ['TF_CPP_MIN_LOG_LEVEL'])"
    assert output_of(code, TF_CPP_MIN_LOG_LEVEL="1") == ("1\n", "")
    code += "; import tensorflow; print(len(tensorflow.config.list_logical_devices('CPU')))"
    printed, messages = output_of(code)
    assert printed.split() == ["3", "1"]
    # Lines of errors begin with an E and the date; those of level I at import come before any setting takes effect.
    assert not re.search(r"^E\d", messages, re.MULTILINE)


def test_making_an_experiment_does_not_import_tensorflow():
    code = (
        "import sys, tf_trpo; tf_trpo.Experiment.from_preset('Hopper-v5').replace(algorithm='kl-penalty').flat();"
        "print({'tensorflow', 'keras', 'gymnasium', 'tensorflow_probability', 'scipy', 'tyro'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=True)
    assert done.stdout == "set()\n"


def test_a_run_with_an_anchor_starts_at_it(tmp_path):
    settings = Experiment().replace(env="CartPole-v1", hidden_sizes=(4,), ema_momentum=None, jit_compile=False, seed=1)
    anchor = settings.make_agent()
    anchor.policy.assign_flat_weights(anchor.policy.flat_weights + 1.0)
    anchor.save(tmp_path / "anchor.keras")
    near = settings.replace(anchor=str(tmp_path / "anchor.keras"), anchor_kl=0.1, seed=2)
    np.testing.assert_array_equal(near.make_agent().policy.flat_weights, anchor.policy.flat_weights)
    with pytest.raises(ValueError, match="the policy must have the network of its anchor"):
        near.replace(hidden_sizes=(5,)).make_agent()
    for setting, value in (("ema_momentum", 0.9), ("final_std", 0.1), ("demonstrations", "some/data-v0")):
        with pytest.raises(ValueError, match=f"{setting} must be None with an anchor"):
            near.replace(**{setting: value})
    # `for_env`, which gets the settings of the policy, has no run to start.
    assert "anchor" not in leaves(PolicySettings)
