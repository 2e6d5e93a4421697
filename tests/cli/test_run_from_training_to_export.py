"""A real run with the scripts: training, the files of the run folder, evaluation and export."""

import contextlib
import dataclasses
import inspect
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata as metadata_of_hparams
from tensorboard.util import tensor_util

import tf_trpo
from tf_trpo import Experiment
from tf_trpo.cli import main
from tf_trpo.experiment.run_folder import RunFolder, free_run_folder
from tf_trpo.figures.charts import STEPS
from tf_trpo.figures.histories import read_history
from tf_trpo.messages import rounded
from tf_trpo.rollouts import VineSettings

SCRIPTS = Path(__file__).parents[2] / "scripts"

# No value is a default, so that a setting that gets lost is noticed.
SETTINGS = {
    "env_kwargs": {"max_episode_steps": 40},
    "num_envs": 3,
    "total_steps": 1200,
    "schedule_steps": 1800,
    "seed": 5,
    "eval_every": 500,
    "eval_episodes": 4,
    "max_episode_steps": 300,
    "checkpoint_every": 400,
    "histogram_every": 400,
    "video_every": 900,
    "export": True,
    "threads": 1,
    "chunk_size": 200,
    "max_faults": 4,
    "env_timeout": 77.0,
    "restart_every": 7,
    "hidden_sizes": [8, 6],
    "activation": "relu",
    "normalize_observations": False,
    "mirror": True,
    "function_preserving": False,
    "ema_momentum": 0.9,
    "max_kl": 0.02,
    "constraint": "max",
    "radius": "adaptive",
    "min_radius": 0.001,
    "max_radius": 0.02,
    "shrink_below": 0.1,
    "expand_above": 0.9,
    "shrink_factor": 0.5,
    "expand_factor": 3.0,
    "cg_iterations": 8,
    "cg_damping": 0.05,
    "cg_tolerance": 1e-5,
    "backtrack_ratio": 0.7,
    "max_backtracks": 6,
    "curvature_fraction": 0.5,
    "fisher_vector_product": "double-backprop",
    "jit_compile": False,
    "num_steps": 100,
    "gamma": 0.97,
    "gae_lambda": 0.9,
    "normalize_advantages": False,
    "advantage_clip": 2.5,
    "normalize_rewards": False,
    "value_hidden_sizes": [7],
    "value_target": "reward-to-go",
    "value_function_first": True,
    "value_learning_rate": 0.002,
    "value_learning_rate_decay": True,
    "value_epochs": 2,
    "value_minibatch_size": 64,
}


def script(name, *arguments, cwd):
    quiet = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    command = [sys.executable, *map(str, (SCRIPTS / f"{name}.py", *arguments))]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, cwd=cwd, env=quiet)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    return tmp_path_factory.mktemp("workplace")


@pytest.fixture(scope="module")
def trained(workplace):
    (workplace / "preset.yaml").write_text(yaml.safe_dump(SETTINGS), encoding="utf-8")
    return script("train", "--preset", "preset.yaml", "--run-dir", "my run", cwd=workplace)


@pytest.fixture(scope="module")
def run(workplace, trained):
    assert trained.returncode == 0, trained.stderr
    return workplace / "my run"


@pytest.fixture(scope="module")
def agent(run):
    return tf_trpo.load(run / "agent.keras")


def test_the_folder_holds_the_documented_files(run, workplace):
    assert {path.name for path in run.iterdir()} == {
        *("config.json", "history.csv", "tensorboard", "checkpoints", "agent.keras", "evaluation.json", "saved_model"),
    }
    assert {path.name for path in workplace.iterdir()} >= {"preset.yaml", "my run"}
    assert not (workplace / "runs").exists()


def test_standard_error_shows_progress_and_nothing_of_tensorflow(run, trained):
    preset, *lines = trained.stderr.splitlines()
    assert preset == "preset preset.yaml"
    assert lines
    assert [line for line in lines if not line.startswith("steps ")] == []


def test_standard_output_shows_the_result_and_what_to_do_next(run, trained):
    result = json.loads((run / "evaluation.json").read_text())
    assert (
        f"Mean return {rounded(result['mean_return'])} +- {rounded(result['std_return'])} over 4 episodes"
        in trained.stdout
    )
    assert "Run folder: my run\n" in trained.stdout
    assert "-m tf_trpo serve 'my run/saved_model' --name CartPole-v1\n" in trained.stdout


def test_the_printed_commands_can_be_copied_and_run(run, trained, workplace, monkeypatch, capsys):
    commands = dict(re.findall(r"^([A-Z][a-z ]+): +(.+)$", trained.stdout, re.MULTILINE))
    assert "/#custom_scalars\n" in trained.stdout
    tensorboard, *options = shlex.split(commands["Look at the run"])
    assert (workplace / tensorboard).is_file()
    assert options == ["--logdir", "my run"]
    python, option, package, *arguments = shlex.split(commands["Evaluate again"])
    assert [python, option, package] == [sys.executable, "-m", "tf_trpo"]
    monkeypatch.chdir(workplace)
    main(arguments)
    output = capsys.readouterr().out
    assert output.startswith("mean return ")
    assert "100 episodes" in output


def test_the_configuration_holds_every_setting_and_the_versions(run):
    config = json.loads((run / "config.json").read_text())
    experiment = Experiment.from_file(run.parent / "preset.yaml")
    assert config["settings"] == json.loads(json.dumps(Experiment().flat())) | SETTINGS
    assert Experiment.from_run(run) == experiment == Experiment().replace(**SETTINGS)
    assert config["versions"]["python"] == sys.version.split()[0]
    assert config["versions"]["tf_trpo"] == tf_trpo.__version__
    for package in ("tensorflow", "keras", "tensorflow-probability", "gymnasium", "numpy"):
        assert config["versions"][package] == metadata.version(package)
    assert config["platform"]


def test_every_setting_reaches_the_agent(agent, run):
    experiment = Experiment.from_run(run)
    # TensorFlow has started in this process.
    made = experiment.replace(threads=0).make_agent()
    with pytest.raises(ValueError, match="threads must be set before TensorFlow starts"):
        experiment.make_agent()
    assert agent.policy_optimizer == made.policy_optimizer == experiment.algorithm
    # In the agent's file, the optimizer holds the learning rate.
    rate = {"value_learning_rate": SETTINGS["value_learning_rate"]}
    assert dataclasses.replace(agent.update_settings, **rate) == made.update_settings == experiment.update
    assert agent.jit_compile == made.jit_compile == SETTINGS["jit_compile"]
    assert agent.ema_momentum == made.ema_momentum == SETTINGS["ema_momentum"]
    assert float(agent.optimizer.learning_rate) == pytest.approx(SETTINGS["value_learning_rate"])
    for part in ("policy", "value_function"):
        for model in (agent, made):
            mirrored = getattr(model, part).encoder.get_config()["encoder"]["config"]
            assert mirrored["normalize_observations"] is SETTINGS["normalize_observations"]
    assert [weight.shape for weight in agent.policy.trainable_variables[:3]] == [(4, 8), (8,), (8, 6)]
    assert [weight.shape for weight in agent.value_function.trainable_variables[:1]] == [(4, 7)]


def test_an_experiment_trains_in_python_as_on_the_command_line(finished, tmp_path):
    folder = RunFolder(tmp_path / "python")
    experiment = Experiment.from_run(finished.folder.path).replace(quiet=True, export=False)
    trained = experiment.train(folder.path)
    assert trained.stopped_by is None
    assert trained.evaluation == folder.read_evaluation() == finished.folder.read_evaluation()
    assert Experiment.from_run(folder.path) == experiment
    weights = tf_trpo.load(finished.folder.agent).get_weights()
    for weight, expected in zip(trained.agent.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(weight, expected)
    first, other = (each.make_agent().policy.flat_weights for each in (experiment, experiment.replace(seed=7)))
    assert not np.array_equal(first, other)
    with pytest.raises(FileExistsError, match="the run folder exists"):
        experiment.train(folder.path)
    with pytest.raises(ValueError, match="is complete"):
        experiment.train(folder.path, resume=True)
    with pytest.raises(ValueError, match="a resumed run keeps its max_kl"):
        experiment.replace(max_kl=0.015).train(folder.path, resume=True)
    steps = int(trained.agent.env_steps)
    longer = experiment.replace(total_steps=steps + 1).train(folder.path, resume=True)
    assert int(longer.agent.env_steps) > steps


@pytest.fixture(scope="module")
def history(run):
    return read_history(run / "history.csv")


def test_the_history_covers_the_steps_that_were_asked_for(history):
    steps = history[STEPS]
    assert steps[-2] < 1200 <= steps[-1]
    # Three environments of 100 rows, minus the rows of resets.
    assert all((np.diff(steps, prepend=0) > 270) & (np.diff(steps, prepend=0) <= 300))
    assert all(history["train/kl_divergence_loss"] <= 0.02)
    np.testing.assert_allclose(history["train/learning_rate"], 0.002, rtol=1e-6)
    assert np.count_nonzero(~np.isnan(history["eval/mean_reward"])) == 2


@pytest.fixture(scope="module")
def events(run):
    return EventAccumulator(str(run / "tensorboard"), size_guidance={"tensors": 0}).Reload()


def test_tensorboard_can_read_the_run(events):
    tags = set(events.Tags()["tensors"])
    assert {"rollout/ep_rew_mean", "time/fps", "train/kl_divergence_loss", "eval/mean_reward"} <= tags
    assert {"custom_scalars__config__", "_hparams_/session_start_info", "config", "actions/0", "episode"} <= tags
    assert events.Tags()["graph"]


def test_tensorboard_has_histograms_and_films_at_the_requested_steps(events, history, agent):
    def due(every):
        return history[STEPS][np.diff(history[STEPS] // every, prepend=0) > 0].tolist()

    assert [event.step for event in events.Tensors("actions/0")] == due(400)
    assert [event.step for event in events.Tensors("episode")] == sorted({*due(900), int(agent.env_steps)})


def test_tensorboard_compares_runs_by_the_settings_on_which_results_depend(events):
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    values = metadata_of_hparams.parse_session_start_info_plugin_data(content).hparams
    assert values["max_kl"].number_value == 0.02
    assert values["hidden_sizes"].string_value == "8, 6"
    assert not {"penalty_solver", "export", "quiet", "threads", "jit_compile"} & set(values)


def test_tensorboard_has_the_last_evaluation_and_the_versions(events, run):
    result = json.loads((run / "evaluation.json").read_text())
    [final] = events.Tensors("final/mean_reward")
    assert tensor_util.make_ndarray(final.tensor_proto) == pytest.approx(result["mean_return"])
    [config] = events.Tensors("config")
    text = tensor_util.make_ndarray(config.tensor_proto).item().decode()
    assert f"<td>keras</td><td>{metadata.version('keras')}</td>" in text
    assert "<td>num_envs</td><td>3</td>" in text


def test_the_checkpoints_are_of_the_end_and_of_an_earlier_iteration(run, agent):
    paths = sorted((run / "checkpoints").iterdir())
    steps = [int(re.fullmatch(r"steps-(\d+)\.ckpt", path.name).group(1)) for path in paths]
    assert len(steps) == 2
    assert steps[1] == int(agent.env_steps)
    last = agent.get_weights()
    agent.load_checkpoint(paths[0])
    assert int(agent.env_steps) == steps[0] < steps[1]
    assert not np.array_equal(last[0], agent.get_weights()[0])
    agent.load_checkpoint(run / "checkpoints")
    for weight, expected in zip(agent.get_weights(), last, strict=True):
        np.testing.assert_array_equal(weight, expected)


@pytest.fixture
def evaluated(finished, capsys):
    """evaluated(*options): the output of evaluate with two episodes of the finished run."""

    def evaluate(*options):
        capsys.readouterr()
        main(["evaluate", str(finished.folder.path), "--episodes", "2", *options])
        said, error = capsys.readouterr()
        assert (said.count("\n"), error) == (1, "")
        return said

    return evaluate


def test_an_evaluation_is_reproducible_and_one_line_without_json(finished, evaluated):
    evaluation = json.loads(evaluated("--seed", "6", "--json"))
    assert set(evaluation) == {"mean_return", "std_return", "mean_length", "episodes"}
    # Deterministic actions and the same seed give the same episodes.
    assert evaluation == finished.folder.read_evaluation()
    assert evaluation["mean_return"] == evaluation["mean_length"] > 0
    assert evaluated("--seed", "6") == (
        f"mean return {rounded(evaluation['mean_return'], 2)} +- {rounded(evaluation['std_return'], 2)}, "
        f"mean length {evaluation['mean_length']:.1f}, 2 episodes, deterministic actions\n"
    )


def test_stochastic_actions_are_sampled_from_the_seed(evaluated):
    line = evaluated("--stochastic", "--seed", "6")
    assert line.endswith(", stochastic actions\n")
    lines = {line, evaluated("--seed", "6").replace("deterministic", "stochastic"), evaluated("--stochastic")}
    assert len(lines) == 3
    assert line == evaluated("--stochastic", "--seed", "6")


def test_exports_by_the_command_and_by_training_act_as_the_agent(run, agent, workplace, monkeypatch, capsys):
    monkeypatch.chdir(workplace)
    main(["export", "my run", "--output", "models/CartPole-v1"])
    assert capsys.readouterr().out == "models/CartPole-v1/1\n"
    observations = np.random.default_rng(0).standard_normal((9, 4)).astype(np.float32)
    for folder in ("models/CartPole-v1/1", "my run/saved_model/1"):
        actions = tf.saved_model.load(folder).signatures["act"](observations=tf.constant(observations))
        np.testing.assert_array_equal(actions["actions"], agent.predict(observations))


def test_the_settings_of_the_run_reach_fit_and_evaluate(tmp_path, monkeypatch):
    calls = {}

    def recording(name, result):
        signature = inspect.signature(getattr(tf_trpo.TRPO, name))

        def method(*args, **kwargs):
            calls[name] = dict(signature.bind(*args, **kwargs).arguments)
            for callback in kwargs.get("callbacks", ())[1:2]:
                callback.on_train_begin({})  # which makes the folder
            return result

        monkeypatch.setattr(tf_trpo.TRPO, name, method)

    recording("fit", None)
    recording("evaluate", {"mean_return": 1.0, "std_return": 0.0, "mean_length": 1.0, "episodes": 6})
    options = {"env": "Pendulum-v1", "total-steps": 1234, "num-envs": 3, "num-steps": 56, "backend": "async", "seed": 9}
    options |= {"env-timeout": 77.0, "max-faults": 3, "restart-every": 5, "schedule-steps": 4321, "shards": 3}
    options |= {"update-parts": 4}
    arguments = [f"--{name}={value}" for name, value in options.items()]
    arguments += ["--eval-episodes=6", "--eval-envs=2", "--max-episode-steps=70", f"--run-dir={tmp_path / 'run'}"]
    main(["train", "--preset=none", *arguments])
    agent = calls["fit"].pop("self")
    making = {"env_kwargs": {}, "wrappers": [], "action_masks": "auto", "info_keys": ()}
    assert [type(callback).__name__ for callback in calls["fit"].pop("callbacks")] == [
        *("StopOnSignal", "LambdaCallback", "LambdaCallback", "TensorBoard", "HistoryCSV", "Checkpoint")
    ]
    assert calls["fit"] == {
        "environment": "Pendulum-v1",
        "resume_from": None,
        "verbose": 1,
        "workers": 0,
        "ray_address": None,
        "allow_different_workers": False,
        "vine": VineSettings(),
        **{name.replace("-", "_"): value for name, value in options.items() if name != "env"},
        **making,
    }
    evaluated = {"self": agent, "environment": "Pendulum-v1", "episodes": 6, "max_episode_steps": 70, "seed": 9}
    assert calls["evaluate"] == {**evaluated, "num_envs": 2, **making}


GAUSSIAN = ["--env", "Pendulum-v1", "--initial-std", "0.25", "--state-dependent-std"]
UNKNOWN = "no episode has ended in 64 steps"


def test_settings_of_the_gaussian_reach_it_and_the_default_folder_is_named_by_environment_and_seed(
    small, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    main(["train", *small, *GAUSSIAN, "--seed", "3", "--checkpoint-every", "0"])
    run = Path("runs/Pendulum-v1-3")
    assert {path.name for path in run.iterdir()} == {
        *("config.json", "history.csv", "tensorboard", "checkpoints", "agent.keras", "evaluation.json", "events.log")
    }
    assert UNKNOWN in (run / "events.log").read_text()
    distribution = tf_trpo.load(run / "agent.keras").policy.action_distribution
    assert (distribution.initial_std, distribution.state_dependent_std) == (0.25, True)
    command = re.search(r"^Export for serving: (.+)$", capsys.readouterr().out, re.MULTILINE).group(1)
    expected = ["-m", "tf_trpo", "export", "runs/Pendulum-v1-3", "--output", "models/Pendulum-v1"]
    assert shlex.split(command) == [sys.executable, *expected]


def test_git_ignores_what_commands_and_examples_write_in_a_checkout():
    root = SCRIPTS.parent
    if not (root / ".git").exists():
        pytest.skip("not a checkout of git")
    written = ["runs/", "tuning/", "models/", "room.keras"]
    found = subprocess.run(["git", "check-ignore", *written], cwd=root, capture_output=True, text=True, check=False)
    assert found.stdout.split() == written
    ignored = subprocess.run(
        ["git", "check-ignore", "--no-index", "tf_trpo/models/", "tests/tuning/"], cwd=root, check=False
    )
    assert ignored.returncode == 1


def test_the_default_folder_is_the_first_one_that_is_free(tmp_path, monkeypatch):
    """Each is reserved, so that runs that start together have folders of their own; unused ones are removed."""
    monkeypatch.chdir(tmp_path)
    # A process that was killed when it started has left it.
    Path("runs/ALE-Pong-v5-7-2").mkdir(parents=True)
    with contextlib.ExitStack() as stack:
        taken = [stack.enter_context(free_run_folder("ALE/Pong-v5", 7)) for _ in range(3)]
        names = ["runs/ALE-Pong-v5-7", "runs/ALE-Pong-v5-7-2", "runs/ALE-Pong-v5-7-3"]
        assert [str(folder.path) for folder in taken] == names
        taken[1].check_new()
        taken[1].create({})
        with pytest.raises(FileExistsError, match="the run folder exists"):
            RunFolder(names[0]).create({})
    assert [str(path) for path in Path("runs").iterdir()] == names[1:2]


@pytest.mark.parametrize("make", [lambda path: path.symlink_to("nowhere"), lambda path: path.touch()])
def test_where_no_default_folder_can_be_made_training_says_so(make, small, tmp_path, monkeypatch, refused):
    monkeypatch.chdir(tmp_path)
    make(Path("runs"))
    with free_run_folder("E-v0", 7) as folder:
        assert str(folder.path) == "runs/E-v0-7"
        with pytest.raises(OSError, match="run folder"):
            folder.create({})


def test_a_training_that_is_ended_immediately_saves_the_agent(finished, tmp_path):
    class CtrlC(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise KeyboardInterrupt

    experiment = Experiment.from_run(finished.folder.path).replace(quiet=True)
    stopped = experiment.train(tmp_path / "run", callbacks=[CtrlC()])
    assert (stopped.evaluation, stopped.stopped_by) == (None, signal.SIGINT)
    assert int(tf_trpo.load(tmp_path / "run" / "agent.keras").env_steps) == int(stopped.agent.env_steps) > 0
    assert not (tmp_path / "run" / "evaluation.json").exists()


def test_a_run_whose_output_nobody_reads_is_trained_to_its_end(small, tmp_path, unread):
    with unread():
        main(["train", *small, "--run-dir", str(tmp_path / "run")])
        # Python does it at the end of the process.
        sys.stdout.flush()
        sys.stderr.flush()
    assert RunFolder(tmp_path / "run").is_complete()


def test_envpool_trains(small, tmp_path, capsys):
    pytest.importorskip("envpool")
    main(["train", *small, *GAUSSIAN, "--backend", "envpool", "--run-dir", str(tmp_path / "run")])
    assert RunFolder(tmp_path / "run").is_complete()
    _, *lines = capsys.readouterr().err.splitlines()
    assert all(line.startswith(("steps ", UNKNOWN)) for line in lines)


def test_box2d_trains_by_its_preset_and_the_standard_deviation_follows_its_schedule(small, tmp_path, capsys):
    pytest.importorskip("Box2D")
    folder, env = RunFolder(tmp_path / "run"), "LunarLanderContinuous-v3"
    schedule = ["--initial-std", "0.5", "--final-std", "0.02", "--schedule-steps", "90"]
    main(
        [
            "train",
            *small[:-2],
            "--total-steps",
            "100",
            "--env",
            env,
            "--num-envs",
            "2",
            *schedule,
            "--run-dir",
            str(folder.path),
        ]
    )
    assert folder.is_complete()
    assert capsys.readouterr().err.startswith(f"preset box2d, for {env}\nsteps ")
    agent = tf_trpo.load(folder.agent)
    assert agent.policy_optimizer == Experiment.from_preset(env).algorithm
    history = read_history(folder.history)
    expected = 0.5 * 0.04 ** np.minimum(1, [0, *history[STEPS] / 90])
    assert len(expected) > 2
    np.testing.assert_allclose(history["train/std"], expected[:-1], rtol=1e-5)
    log_std = agent.policy.action_distribution.log_std
    assert not log_std.trainable
    np.testing.assert_allclose(np.exp(log_std.numpy()), expected[-1], rtol=1e-5)
