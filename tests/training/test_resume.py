"""A fit that was broken off and resumed is, bit for bit, one that was not."""

import json
import os
import shutil

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf
from tf_trpo.training.loop_state import LoopState

import tf_trpo
from tf_trpo.callbacks import Checkpoint
from tf_trpo.optimizers import KLPenalty, TrustRegion, VanillaPolicyGradient
from tf_trpo.training import CheckpointError
from tf_trpo.training import checkpoints as module

FIT = {"num_envs": 2, "num_steps": 32, "seed": 3, "verbose": 0}


class BreakOff(keras.callbacks.Callback):
    """Ends a fit as a killed process would: nothing is written after the iteration."""

    def __init__(self, iteration):
        super().__init__()
        self._iteration = iteration

    def on_epoch_end(self, epoch, logs=None):
        if epoch == self._iteration:
            raise KeyboardInterrupt


def make(environment="CartPole-v1", optimizer=None, models=None, **settings):
    sizes = {"hidden_sizes": [6], "value_hidden_sizes": [6]}
    agent = tf_trpo.TRPO.for_env(environment, ema_momentum=0.8, seed=0, **sizes, **models or {})
    agent.compile(optimizer, jit_compile=False, value_epochs=2, **settings)
    return agent


def broken_off(folder, after, environment="CartPole-v1", every_steps=100, optimizer=None, keep=2):
    agent = make(environment, optimizer)
    callbacks = [Checkpoint(folder, every_steps, keep=keep), BreakOff(after)]
    with pytest.raises(KeyboardInterrupt):
        agent.fit(environment, 600, callbacks=callbacks, **FIT)


CASES = {
    "CartPole, adaptive radius": ("CartPole-v1", lambda: TrustRegion(0.001, radius="adaptive")),
    "CartPole, radius by a schedule": (
        "CartPole-v1",
        lambda: TrustRegion(keras.optimizers.schedules.PolynomialDecay(0.02, 9, 0.001)),
    ),
    "Pendulum, Adam": ("Pendulum-v1", lambda: VanillaPolicyGradient("adam")),
    "Blackjack, steepest descent": ("Blackjack-v1", lambda: VanillaPolicyGradient("sgd")),
    "Hopper, adaptive penalty": ("Hopper-v5", KLPenalty),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name.startswith("Pendulum") else name for name in CASES]
)
def test_the_weights_are_those_of_a_fit_that_was_not_interrupted(name, tmp_path, assert_same_weights):
    environment, optimizer = CASES[name]
    if environment == "Hopper-v5":
        pytest.importorskip("mujoco")
    whole = make(environment, optimizer())
    expected = whole.fit(environment, 600, **FIT).history
    broken_off(tmp_path, 5, environment, optimizer=optimizer())
    resumed = make(environment, optimizer())
    history = resumed.fit(environment, 600, resume_from=tmp_path, **FIT).history
    assert_same_weights(resumed.get_weights(), whole.get_weights())
    state = [[np.array(v.numpy()) for v in one.policy_optimizer.variables] for one in (resumed, whole)]
    assert_same_weights(*state)
    done = len(history["time/total_timesteps"])
    assert 0 < done < len(expected["time/total_timesteps"])
    for figure in ("time/total_timesteps", "rollout/ep_rew_mean", "train/kl_divergence_loss", "train/value_loss"):
        np.testing.assert_array_equal(history[figure], expected[figure][-done:])


@pytest.mark.slow
def test_it_can_be_broken_off_again_and_again(tmp_path, assert_same_weights):
    whole = make()
    whole.fit("CartPole-v1", 600, **FIT)
    broken_off(tmp_path, 1, every_steps=1)
    for after in (2, 4, 5):
        agent = make()
        callbacks = [Checkpoint(tmp_path, 1), BreakOff(after)]
        with pytest.raises(KeyboardInterrupt):
            agent.fit("CartPole-v1", 600, callbacks=callbacks, resume_from=tmp_path, **FIT)
    last = make()
    last.fit("CartPole-v1", 600, resume_from=tmp_path, **FIT)
    assert_same_weights(last.get_weights(), whole.get_weights())


def test_environments_that_cannot_be_saved_are_reset_and_the_fit_says_so(tmp_path):
    settings = FIT | {"backend": "async"}
    agent = make()
    with pytest.raises(KeyboardInterrupt):
        agent.fit("CartPole-v1", 600, callbacks=[Checkpoint(tmp_path, 1), BreakOff(3)], **settings)
    resumed = make()
    with pytest.warns(UserWarning, match="they are reset, and the results agree in distribution"):
        resumed.fit("CartPole-v1", 600, resume_from=tmp_path, **settings)
    assert int(resumed.env_steps) >= 600


def test_a_complete_fit_has_nothing_left_to_do(tmp_path, assert_same_weights):
    agent = make()
    agent.fit("CartPole-v1", 200, callbacks=[Checkpoint(tmp_path, 50)], **FIT)
    resumed = make()
    history = resumed.fit("CartPole-v1", 200, resume_from=tmp_path, **FIT)
    assert history.epoch == []
    assert_same_weights(resumed.get_weights(), agent.get_weights())


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    broken_off(folder, 3, every_steps=1, keep=3)
    assert len(list(folder.iterdir())) == 3
    return folder


@pytest.fixture
def checkpoints(written, tmp_path):
    """A folder with the checkpoints of three iterations."""
    return shutil.copytree(written, tmp_path / "checkpoints")


@pytest.fixture(scope="module")
def agent():
    """For what is refused, and leaves it as it was."""
    return make()


OTHERS = {
    "seed": ({}, {"seed": 4}, "of a fit with seed 3, not 4$"),
    "rows": ({}, {"num_steps": 16}, "of a fit with num_steps 32, not 16$"),
    "turns": ({}, {"restart_every": 2}, "of a fit with restart_every 0, not 2$"),
    "updates": (
        {"gamma": 0.9, "value_function_first": True},
        {},
        "gamma 0.99, not 0.9; value_function_first False, not",
    ),
    "limit": ({"optimizer": TrustRegion(0.02)}, {}, "of a fit with policy_optimizer/max_kl 0.01, not 0.02$"),
    "constraint": (
        {"optimizer": TrustRegion(constraint="max")},
        {},
        "of a fit with policy_optimizer/constraint 'mean', not 'max'$",
    ),
    "value optimizer": (
        {"value_optimizer": keras.optimizers.Adam(0.5, beta_1=0.25)},
        {},
        "of a fit with optimizer/beta_1 0.9, not 0.25; optimizer/learning_rate 0.001.*, not 0.5$",
    ),
    "policy": (
        {"models": {"function_preserving": False}},
        {},
        "of a fit with policy/encoder/function_preserving True, not False$",
    ),
    "environments": ({}, {"num_envs": 3}, "discounted_returns of the checkpoint"),
    "environment": ({"environment": "Acrobot-v1"}, {}, "its variables differ in policy/0"),
    "algorithm": ({"optimizer": KLPenalty()}, {}, "its variables differ in policy_optimizer/0"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_checkpoint_of_another_fit_or_agent_is_refused(name, checkpoints):
    agent_settings, fit_settings, words = OTHERS[name]
    agent = make(**agent_settings)
    with pytest.raises(ValueError, match=words):
        agent.fit(agent_settings.get("environment", "CartPole-v1"), 600, resume_from=checkpoints, **FIT | fit_settings)


class Own(TrustRegion):
    """An optimizer of one's own, whose settings are not all JSON."""

    def get_config(self):
        return super().get_config() | {"schedule": object(), "factor": np.float32(2)}


def test_settings_that_are_no_json_do_not_keep_a_fit_from_going_on(tmp_path):
    broken_off(tmp_path, 1, every_steps=1, optimizer=Own())
    history = make(optimizer=Own()).fit("CartPole-v1", 600, resume_from=tmp_path, **FIT).history
    assert history["time/total_timesteps"][-1] >= 600
    words = (
        "policy_optimizer/class 'Own', not 'TrustRegion'; 'policy_optimizer/factor' 2.0, not None; "
        "'policy_optimizer/schedule' 'object', not None"
    )
    with pytest.raises(CheckpointError, match=words):
        make().fit("CartPole-v1", 600, resume_from=tmp_path, **FIT)


def test_a_number_is_what_it_is_in_whatever_type(tmp_path):
    agent = make(gamma=np.float32(0.5))
    with pytest.raises(KeyboardInterrupt):
        agent.fit("CartPole-v1", 600, callbacks=[Checkpoint(tmp_path, 1), BreakOff(1)], **FIT)
    again = make(gamma=0.5)
    assert again.fit("CartPole-v1", 150, resume_from=tmp_path, **FIT | {"num_steps": np.int64(32)}).history
    with pytest.raises(CheckpointError, match=r"of a fit with gamma 0.5, not 0.75$"):
        make(gamma=np.float32(0.75)).fit("CartPole-v1", 600, resume_from=tmp_path, **FIT)


def test_what_a_strange_checkpoint_says_of_its_settings_is_shortened():
    settings = {"gamma": "x" * 1_000_000, "\x1b[2J" * 1000: 1}
    state = LoopState(**dict.fromkeys(LoopState._fields))._replace(settings=settings)
    with pytest.raises(ValueError, match=r"of a fit with .*gamma 'x+\.\.\.x+', not 0.9$") as error:
        state.check_settings({"gamma": 0.9})
    assert len(str(error.value)) < 200
    assert str(error.value).isprintable()


def test_a_checkpoint_of_an_environment_with_the_same_spaces_is_refused(checkpoints, monkeypatch):
    """Also where the environments' state, which would tell, is not saved."""
    monkeypatch.setitem(gym.registry, "OtherCart-v0", gym.spec("CartPole-v1"))
    with pytest.raises(ValueError, match="it is of CartPole-v1, not OtherCart-v0"):
        make().fit("OtherCart-v0", 600, resume_from=checkpoints, **FIT)


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def link(path):
    path.rename(path.with_suffix(".real"))
    path.symlink_to(path.with_suffix(".real"))


def change_manifest(path, **changes):
    manifest = path.parent / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | changes))


FILES = ["variables.index", "variables.data-00000-of-00001", "loop.json", "loop.npz", "manifest.json"]
DAMAGES = {
    "one bit": flip,
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "empty": lambda path: path.write_bytes(b""),
    "missing": lambda path: path.unlink(),
    "a link": link,
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", FILES)
def test_a_damaged_checkpoint_is_passed_over_for_an_older_one(checkpoints, file, damage, agent):
    _, older, newest = sorted(checkpoints.iterdir())
    DAMAGES[damage](newest / file)
    assert module.newest_checkpoint(checkpoints) == older
    before = agent.get_weights()
    with pytest.raises(CheckpointError, match=str(newest)):
        agent.load_checkpoint(newest)
    np.testing.assert_array_equal(agent.get_weights()[0], before[0])


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 1},
        {"files": {}},
        {"files": {"../../secret": {"size": 0, "sha256": ""}}},
        {"files": [1]},
    ],
)
def test_a_manifest_of_something_else_is_refused(checkpoints, changes):
    newest = max(checkpoints.iterdir())
    change_manifest(newest / "loop.json", **changes)
    with pytest.raises(CheckpointError, match=r"manifest.json|has format"):
        module.verify_checkpoint(newest)


def resealed(path):
    """With a manifest that vouches for what a stranger has put there."""
    files = {name: module._fingerprint(path / name) for name in FILES if name != "manifest.json"}
    (path / "manifest.json").write_text(json.dumps({"format": 2, "files": files}))


def test_pickles_and_compressed_arrays_are_refused_even_with_a_right_manifest(checkpoints, agent):
    newest = max(checkpoints.iterdir())
    with np.load(newest / "loop.npz") as file:
        arrays = dict(file)
    arrays["episodes"] = np.array([object()])
    np.savez(newest / "loop.npz", **arrays)
    resealed(newest)
    with pytest.raises(CheckpointError, match=r"claims object \(1,\)"):
        agent.load_checkpoint(newest)
    np.savez_compressed(newest / "loop.npz", episodes=np.zeros(10**6))
    resealed(newest)
    with pytest.raises(CheckpointError, match="compressed"):
        agent.load_checkpoint(newest)


def test_variables_of_other_shapes_are_refused_before_any_is_restored(checkpoints, agent, assert_same_weights):
    newest = max(checkpoints.iterdir())
    variables = module._variables(agent)
    variables["counters"] = [tf.Variable(tf.zeros([1000, 1000]))]
    for path in newest.glob("variables.*"):
        path.unlink()
    tf.train.Checkpoint(**variables).write(str(newest / "variables"))
    resealed(newest)
    before = agent.get_weights()
    with pytest.raises(CheckpointError, match="its variables differ in counters/0"):
        agent.load_checkpoint(newest)
    assert_same_weights(agent.get_weights(), before)


def test_without_any_whole_checkpoint_the_reasons_are_given(checkpoints, tmp_path):
    for path in checkpoints.iterdir():
        (path / "loop.json").unlink()
    with pytest.raises(CheckpointError, match=r"steps-\d+/loop.json is missing.*; .*steps-\d+/loop.json"):
        make().fit("CartPole-v1", 600, resume_from=checkpoints, **FIT)
    with pytest.raises(CheckpointError, match="nowhere holds no checkpoint"):
        make().load_checkpoint(tmp_path / "nowhere")


@pytest.mark.parametrize("moment", ["variables", "arrays", "manifest", "rename", "verification"])
def test_a_write_that_fails_leaves_the_old_checkpoints_and_no_half_one(checkpoints, moment, monkeypatch):
    """At any moment of it; the next one succeeds."""
    before = sorted(checkpoints.iterdir())
    verify, fingerprint = module.verify_checkpoint, module._fingerprint

    def fingerprint_of_old_ones(path):
        return fails() if path.parent.name.startswith(".partial-") else fingerprint(path)

    def refusing_new_ones(path):
        if path.name.startswith(".partial-"):
            raise CheckpointError("unlike")
        verify(path)

    def fails(*_, **__):
        raise OSError(28, "No space left on device")

    places = {
        "variables": (tf.train.Checkpoint, "write", fails),
        "arrays": (np, "savez", fails),
        "manifest": (module, "_fingerprint", fingerprint_of_old_ones),
        "rename": (module.Path, "rename", fails),
    }
    agent = make()
    with monkeypatch.context() as patch:
        if moment == "verification":
            patch.setattr(module, "verify_checkpoint", refusing_new_ones)
        else:
            patch.setattr(*places[moment])
        with pytest.raises((OSError, CheckpointError), match=r"No space left|unlike"):
            agent.fit(
                "CartPole-v1", 600, resume_from=checkpoints, callbacks=[Checkpoint(checkpoints, 1, keep=1)], **FIT
            )
    assert sorted(checkpoints.iterdir()) == before
    for path in before:
        module.verify_checkpoint(path)
    agent.fit("CartPole-v1", 60, callbacks=[Checkpoint(checkpoints, 10**9, keep=1)], **FIT)
    [newest] = checkpoints.iterdir()
    assert newest.name > max(before).name
    module.verify_checkpoint(newest)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_named(checkpoints):
    checkpoints.chmod(0o500)
    try:
        with pytest.raises(OSError, match=str(checkpoints)):
            make().fit("CartPole-v1", 600, callbacks=[Checkpoint(checkpoints, 1)], resume_from=checkpoints, **FIT)
    finally:
        checkpoints.chmod(0o700)


def test_leftovers_of_a_killed_write_are_cleared_away(checkpoints):
    leftover = checkpoints / ".partial-steps-000000000999"
    shutil.copytree(max(checkpoints.iterdir()), leftover)
    make().fit("CartPole-v1", 300, callbacks=[Checkpoint(checkpoints, 1)], resume_from=checkpoints, **FIT)
    assert not leftover.exists()


def content(folder):
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def test_a_folder_with_checkpoints_of_more_steps_is_refused_before_training(checkpoints, agent):
    before, steps = content(checkpoints), int(agent.env_steps)
    with pytest.raises(ValueError, match=r"holds steps-\d+, and the agent is at 0 steps: it belongs to another fit"):
        agent.fit("CartPole-v1", 60, callbacks=[Checkpoint(checkpoints, 1)], **FIT)
    assert content(checkpoints) == before
    assert int(agent.env_steps) == steps


def test_damaged_newer_ones_go_when_a_good_one_is_written_and_that_one_stays(checkpoints):
    oldest, *newer = sorted(checkpoints.iterdir())
    for path in newer:
        flip(path / "loop.npz")
    steps = int(oldest.name.removeprefix("steps-"))
    callbacks = [Checkpoint(checkpoints, None, keep=1)]
    make().fit("CartPole-v1", steps + 1, callbacks=callbacks, resume_from=checkpoints, **FIT)
    [left] = checkpoints.iterdir()
    assert oldest.name < left.name < newer[-1].name
    module.verify_checkpoint(left)


def test_a_whole_checkpoint_of_the_same_step_is_not_written_again(checkpoints):
    before, newest = content(checkpoints), max(checkpoints.iterdir())
    callbacks = [Checkpoint(checkpoints, 1, keep=1, at_start=True)]
    make().fit("CartPole-v1", 60, callbacks=callbacks, resume_from=newest, **FIT)
    assert content(checkpoints) == before


def test_a_damaged_one_of_the_same_step_gives_way(checkpoints):
    agent, newest = make(), max(checkpoints.iterdir())
    agent.load_checkpoint(newest)
    flip(newest / "loop.npz")
    callbacks = [Checkpoint(checkpoints, None, keep=3, at_start=True)]
    agent.fit("CartPole-v1", 60, callbacks=callbacks, **FIT)
    module.verify_checkpoint(newest)
    assert not list(checkpoints.glob(".*"))


def test_a_folder_that_is_a_link_is_neither_read_nor_written(checkpoints, tmp_path, agent):
    link = tmp_path / "link"
    link.symlink_to(checkpoints)
    before = content(checkpoints)
    with pytest.raises(CheckpointError, match="link is a symbolic link"):
        agent.load_checkpoint(link)
    with pytest.raises(CheckpointError, match="link is a symbolic link"):
        agent.fit("CartPole-v1", 60, callbacks=[Checkpoint(link, 1)], **FIT)
    assert content(checkpoints) == before


def test_a_fit_goes_on_from_one_checkpoint_of_several(checkpoints):
    older = sorted(checkpoints.iterdir())[0]
    history = make().fit("CartPole-v1", 600, resume_from=older, **FIT).history
    assert history["time/total_timesteps"][0] - int(older.name.removeprefix("steps-")) <= 64


@pytest.mark.parametrize("fit_settings", [{"seed": 4}, {"num_steps": 16}, {"num_envs": 3}], ids=str)
def test_the_checkpoint_of_another_fit_leaves_the_agent_as_it_was(
    fit_settings, checkpoints, agent, assert_same_weights
):
    before = agent.get_weights()
    with pytest.raises(CheckpointError, match="is no checkpoint of this fit"):
        agent.fit("CartPole-v1", 600, resume_from=checkpoints, **FIT | fit_settings)
    assert_same_weights(agent.get_weights(), before)


def test_a_checkpoint_is_saved_during_a_fit_only(agent, tmp_path):
    with pytest.raises(RuntimeError, match="during a fit"):
        agent.save_checkpoint(tmp_path)
