"""Searches whose trainings are replaced by functions of the settings, and an experiment that trains in a second."""

import json

import pytest

from tf_trpo import Experiment
from tf_trpo.experiment import RunFolder

TINY = {
    "max_kl": 0.01,
    "num_steps": 32,
    "total_steps": 128,
    "hidden_sizes": [4],
    "value_hidden_sizes": [4],
    "value_epochs": 1,
    "jit_compile": False,
    "eval_episodes": 2,
    "quiet": True,
}
"""Settings of a small training. Agents with these settings share what is traced."""


@pytest.fixture
def tiny():
    return Experiment("CartPole-v1").replace(**TINY)


@pytest.fixture
def returning(monkeypatch):
    """returning(function): replace trainings by function(experiment), and return the list of all experiments.

    The function returns the final mean return, or a list of the mean returns of all evaluations.
    """

    def patch(function):
        trained = []
        # Agents that are not trained need not be made, which would take most of the time.
        monkeypatch.setattr(Experiment, "make_agent", lambda self: None)

        def train_once(experiment, folder, evaluations, report):
            trained.append(experiment)
            values = function(experiment)
            values = values if isinstance(values, list) else [values]
            for position, value in enumerate(values[:-1]):
                if report(position, value):
                    return None
            evaluation = {"mean_return": values[-1], "std_return": 0.0, "mean_length": 1.0, "episodes": 1}
            folder.mkdir(parents=True)
            RunFolder(folder).evaluation.write_text(json.dumps(evaluation))
            return values[-1]

        monkeypatch.setattr("tf_trpo.tuning.work.train_once", train_once)
        return trained

    return patch
