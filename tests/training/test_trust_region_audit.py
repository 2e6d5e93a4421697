"""Every accepted step of long MuJoCo runs, recomputed outside the compiled update in float64, is within max_kl."""

import keras
import numpy as np
import pytest

import tf_trpo
from tf_trpo.learning import UpdateSettings
from tf_trpo.models.settings import PolicySettings
from tf_trpo.optimizers import TrustRegion

MAX_KL = 0.02


class Audit(keras.callbacks.Callback):
    """Keeps what an update was given and what it left, and computes the KL between the two from the weights alone.

    If the first layer absorbs the change of the statistics, the policy after the update is evaluated with the new ones,
    because it acts next.

    Args:
      anchor: snapshot of the policy to stay near, if there is one.
    """

    def __init__(self, anchor=None):
        super().__init__()
        self.kls, self.reported, self.clipped = [], [], []
        self.anchor, self.anchor_kls, self.anchor_reported, self.restores = anchor, [], [], []

    def on_epoch_begin(self, epoch, logs=None):
        self._before = snapshot(self.model.policy)

    def on_epoch_end(self, epoch, logs=None):
        rollout = self.params["trainer"].rollout
        after = snapshot(self.model.policy)
        valid = rollout.valid.ravel()
        observations = rollout.observations[:-1].reshape(len(valid), -1)[valid].astype(np.float64)
        if not self.model.policy.encoder.function_preserving:
            # All statistics but the first, under which the outputs stay 0, move only after the step.
            used = after if self._before["count"] == 0 else self._before
            for snapshots in (self._before, after):
                snapshots |= {name: used[name] for name in ("mean", "scale", "count")}
        if not logs["train/is_line_search_success"]:
            for old, new in zip(self._before["layers"], after["layers"], strict=True):
                np.testing.assert_array_equal(old, new)
            return
        self.kls.append(mean_kl(forward(self._before, observations), forward(after, observations)))
        self.clipped.append(any(np.abs(normalized(one, observations)).max() > 10 for one in (self._before, after)))
        self.reported.append(logs["train/kl_divergence_loss"])
        if self.anchor is not None:
            self.anchor_kls.append(mean_kl(forward(self.anchor, observations), forward(after, observations)))
            self.anchor_reported.append(logs["train/anchor_kl"])
            self.restores.append(logs["train/restores"])


def snapshot(policy):
    [normalization] = policy.encoder.normalization
    return {
        "layers": [np.array(weight.numpy(), np.float64) for weight in policy.trainable_weights],
        "mean": np.array(normalization.mean.numpy(), np.float64),
        "scale": np.array(normalization.scale.numpy(), np.float64),
        "count": float(normalization.count.numpy()),
    }


def normalized(weights, observations):
    return (observations - weights["mean"]) / weights["scale"]


def forward(weights, observations):
    """Means [N, d] and the log standard deviations [d] of a tanh network with two hidden layers."""
    inputs = np.clip(normalized(weights, observations), -10, 10)
    log_std, *layers = weights["layers"]
    kernels, biases = layers[::2], layers[1::2]
    hidden = inputs
    for kernel, bias in zip(kernels[:-1], biases[:-1], strict=True):
        hidden = np.tanh(hidden @ kernel + bias)
    return hidden @ kernels[-1] + biases[-1], log_std


def mean_kl(old, new):
    """Mean over samples of KL(old || new) of diagonal Gaussians, summed over the dimensions."""
    (old_mean, old_log_std), (new_mean, new_log_std) = old, new
    variance_ratio = np.exp(2 * (old_log_std - new_log_std))
    squared = ((old_mean - new_mean) / np.exp(new_log_std)) ** 2
    return (0.5 * (variance_ratio - 1 - np.log(variance_ratio) + squared)).sum(axis=1).mean()


def audited(environment, iterations, jit_compile=True, **policy):
    settings = PolicySettings(**{"function_preserving": False} | policy)
    agent = tf_trpo.TRPO.for_env(environment, policy=settings, seed=0)
    agent.compile(TrustRegion(max_kl=MAX_KL), update=UpdateSettings(value_epochs=2), jit_compile=jit_compile)
    audit = Audit()
    agent.fit(environment, iterations * 512, num_envs=8, num_steps=64, callbacks=audit, verbose=0)
    return audit


def check(audit):
    kls, reported = np.array(audit.kls), np.array(audit.reported)
    assert reported.max() <= MAX_KL
    # What remains is the float32 network's rounding against the float64 one's.
    np.testing.assert_allclose(kls, reported, rtol=1e-5)
    assert kls.max() <= MAX_KL * (1 + 1e-5)
    # The limit is reached, or there would be nothing to find.
    assert kls.max() > 0.9 * MAX_KL


def test_the_accepted_steps_of_a_short_run_are_within_the_limit():
    pytest.importorskip("mujoco")
    check(audited("InvertedPendulum-v5", 25, jit_compile=False, hidden_sizes=(8, 8)))


def test_the_policies_that_act_one_after_the_other_are_within_the_limit_too():
    pytest.importorskip("mujoco")
    audit = audited("InvertedPendulum-v5", 25, jit_compile=False, hidden_sizes=(8, 8), function_preserving=True)
    kls, reported, clipped = (np.array(of_all) for of_all in (audit.kls, audit.reported, audit.clipped))
    assert np.mean(clipped) < 0.5
    # The first layer is float32, also after it has taken the statistics' change in.
    np.testing.assert_allclose(kls[~clipped], reported[~clipped], rtol=1e-3)
    assert kls[~clipped].max() > 0.9 * MAX_KL


@pytest.mark.slow
@pytest.mark.parametrize("environment", ["Hopper-v5", "HalfCheetah-v5"])
def test_the_accepted_steps_of_thousands_are_within_the_limit(environment):
    audit = audited(environment, 2000)
    check(audit)
    assert len(audit.kls) > 1500


@pytest.mark.parametrize(
    ("environment", "iterations", "hidden_sizes"),
    [("InvertedPendulum-v5", 40, (8, 8)), pytest.param("Hopper-v5", 500, (64, 64), marks=pytest.mark.slow)],
)
def test_the_kl_from_an_anchor_is_within_its_limit_in_a_whole_run(environment, iterations, hidden_sizes):
    """On the states of a new batch it may be above. The step must then reduce it."""
    pytest.importorskip("mujoco")
    limit, fit = 0.05, {"num_envs": 8, "num_steps": 64, "verbose": 0}
    settings = PolicySettings(function_preserving=False, ema_momentum=None, hidden_sizes=hidden_sizes)
    agent = tf_trpo.TRPO.for_env(environment, policy=settings, seed=0)
    agent.compile(TrustRegion(max_kl=MAX_KL), update=UpdateSettings(value_epochs=2), jit_compile=False)
    agent.fit(environment, 5 * 512, **fit)
    audit = Audit(snapshot(agent.policy))
    agent.compile(TrustRegion(max_kl=MAX_KL, anchor_kl=limit), update=agent.update_settings, anchor=agent)
    agent.fit(environment, iterations * 512, callbacks=audit, **fit)
    kls, reported, restores = (np.array(of_all) for of_all in (audit.anchor_kls, audit.anchor_reported, audit.restores))
    np.testing.assert_allclose(kls, reported, rtol=1e-4, atol=1e-7)
    assert (kls[restores == 0] <= limit * (1 + 1e-4)).all()
    assert np.mean(kls <= limit) > 0.5
    # The limit is reached, or there would be nothing to find.
    assert kls.max() > 0.9 * limit
