"""Options and settings that do not exist, with the nearest that exists, and options that are missing."""

import pytest

from tf_trpo import Experiment
from tf_trpo.experiment import RunFolder
from tf_trpo.suggestions import SYNONYMS, nearest, same_meaning
from tf_trpo.tuning import Choice, Tuning


@pytest.mark.parametrize("arguments", [["train"], ["evaluate", "run"], ["export", "run", "--output", "model"]])
def test_an_unknown_option_ends_with_one_line_and_its_name(arguments, refused):
    error = refused(*arguments, "--qqqq", "1")
    assert error == f"error: unrecognized options: --qqqq 1; see {arguments[0]} --help"


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [
        # By spelling.
        ("train --totl-steps 1", "--total-steps"),
        ("train --maxkl=0.1", "--max-kl"),
        ("train --no-quite", "--no-quiet"),
        ("train --help-al", "--help-all"),
        ("check-env CartPole-v1 --env-kwarg {}", "--env-kwargs"),
        ("evaluate run --episode 1", "--episodes"),
        ("train left-over --totl-steps 1", "--total-steps"),
        # By words, first those of the algorithm.
        ("train --learning-rate 1", "--value-learning-rate"),
        ("train --algorithm ppo --learning-rate 1", "--ppo-learning-rate"),
        ("train --epochs 1", "--value-epochs"),
        ("train --algorithm kl-penalty --epochs 1", "--penalty-epochs"),
        ("tune --learning-rate 1", "--value-learning-rate"),
        ("tune --algorithm ppo --learning-rate 1", "--ppo-learning-rate"),
        # Another option that is refused does not hide the suggestion.
        ("train --gamma 5 --learning-rate 1", "--value-learning-rate"),
        ("train --algorithm ppo --gamma 5 --learning-rate 1", "--ppo-learning-rate"),
        ("train --algorithm ppo --n-epochs 1", "--ppo-epochs"),
        # A search has other steps, and refuses total_steps.
        ("tune --total-timesteps 1", "--steps"),
        ("tune --totl-steps 1", "--steps"),
    ],
)
def test_a_mistyped_option_is_answered_with_a_suggestion(arguments, nearest, refused):
    assert f"; there is {nearest}; see {arguments.split()[0]} --help" in refused(*arguments.split())


@pytest.mark.parametrize("preset", ["file", "resume"])
def test_the_algorithm_of_the_suggestion_may_come_from_a_preset_or_a_run(preset, tmp_path, refused):
    (tmp_path / "own.yaml").write_text("algorithm: ppo")
    given = ["--preset", tmp_path / "own.yaml"]
    if preset == "resume":
        (tmp_path / "run").mkdir()
        RunFolder(tmp_path / "run").write_config(Experiment().replace(algorithm="ppo").flat())
        given = ["--resume", tmp_path / "run"]
    assert "; there is --ppo-epochs;" in refused("train", *given, "--epochs", "1")


USUAL = {
    "batch-size": "value-minibatch-size",
    "cg-max-steps": "cg-iterations",
    "ent-coef": "entropy-coefficient",
    "enviroment": "env",
    "environment": "env",
    "gae-lam": "gae-lambda",
    "lam": "gae-lambda",
    "logdir": "run-dir",
    "line-search-max-iter": "max-backtracks",
    "line-search-shrinking-factor": "backtrack-ratio",
    "lr": "value-learning-rate",
    "n-critic-updates": "value-epochs",
    "n-envs": "num-envs",
    "n-epochs": "value-epochs",
    "n-steps": "num-steps",
    "net-arch": "hidden-sizes",
    "output": "run-dir",
    "steps": "total-steps",
    "sub-sampling-factor": "curvature-fraction",
    "timesteps": "total-steps",
    "total-timesteps": "total-steps",
    "verbose": "quiet",
}


@pytest.mark.parametrize(("typed", "meant"), USUAL.items())
def test_the_names_of_other_libraries_are_understood(typed, meant, refused):
    assert f"; there is --{meant}; see train --help" in refused("train", f"--{typed}", "1")


@pytest.mark.parametrize("typed", ["xla", "stop", "lim"])
def test_a_short_synonym_is_not_suggested_for_what_is_spelled_like_it(typed, refused):
    assert "there is" not in refused("train", f"--{typed}", "1")


def test_every_synonym_is_tested():
    # target_kl is an option, of another algorithm.
    assert {name.replace("-", "_") for name in USUAL} == SYNONYMS.keys() - {"target_kl"}


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ("--target-kl 1", "kl-penalty, and does nothing in trpo; the nearest is max_kl (--max-kl)"),
        ("--algorithm ppo --target-kl 1", "does nothing in ppo; the nearest is ppo_target_kl (--ppo-target-kl)"),
        ("--algorithm natural-policy-gradient --max-kl 1", "; the nearest is natural_max_kl (--natural-max-kl)"),
        ("--penalty fixed", "does nothing in trpo"),
    ],
)
def test_a_setting_of_another_algorithm_is_refused_with_the_nearest_of_the_chosen_one(arguments, hint, refused):
    assert refused("train", *arguments.split()).endswith(hint)


def test_settings_of_python_are_suggested_from_those_of_the_algorithm():
    with pytest.raises(ValueError, match="unknown settings: learning_rate; there is value_learning_rate, and"):
        Experiment().replace(learning_rate=1)
    ppo = Experiment().replace(algorithm="ppo")
    with pytest.raises(ValueError, match="unknown settings: learning_rate; there is ppo_learning_rate, and"):
        Tuning(ppo, space={"learning_rate": Choice((1e-3, 1e-2))})
    with pytest.raises(ValueError, match="unknown settings: epochs; there is ppo_epochs, and"):
        Tuning(ppo, fixed_settings=("epochs",))


def test_of_several_names_with_all_words_the_first_with_the_fewest_words_is_the_nearest():
    known = ["a_rate_of_all", "b_rate", "c_rate"]
    assert nearest("--rate", known) == same_meaning("rate", known) == "b_rate"
    assert nearest("rates-of-all", known) == "a_rate_of_all"
    assert same_meaning("rates-of-all", known) is None
    assert nearest("xyz", known) is None


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ("export run --outptu model", "--outptu model; there is --output"),
        ("export --outptu model", "--outptu; there is --output"),
        ("evaluate --episode 3", "--episode; there is --episodes"),
    ],
)
def test_an_unknown_option_is_reported_before_a_missing_one(arguments, error, refused):
    command, *options = arguments.split()
    assert refused(command, *options) == f"error: unrecognized options: {error}; see {command} --help"


@pytest.mark.parametrize(
    ("arguments", "missing"),
    [(["evaluate"], "run_dir"), (["export", "--output", "x"], "run_dir"), (["export", "run"], "--output")],
)
def test_a_missing_argument_ends_with_one_line_and_its_name(arguments, missing, refused):
    assert missing in refused(*arguments)
