"""Every page: its Python runs, its links lead to files, and its commands accept their options.

The examples in docstrings run too, since the API reference shows them.
"""

import ast
import configparser
import dataclasses
import importlib
import re
import shlex
import textwrap
from pathlib import Path

import pytest
import yaml

from benchmarks.__main__ import COMMANDS as BENCHMARKS
from benchmarks.__main__ import parse as parse_benchmark
from tf_trpo import Experiment
from tf_trpo.cli import COMMANDS as TF_TRPO
from tf_trpo.cli.parsing import OptionParser, parse
from tf_trpo.cli.train import CommandOptions
from tf_trpo.experiment.conversion import leaves

ROOT = Path(__file__).parents[2]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in [
        *ROOT.glob("*.md"),
        ROOT / "benchmarks" / "trials.md",
        *(ROOT / "docs").rglob("*.md"),
        ROOT / "saved_models" / "README.md",
        *(ROOT / "saved_models").glob("*/README.md"),
    ]
}


def options_class(name):
    """The class of the options of a command of the package."""
    module = importlib.import_module(f"tf_trpo.cli.{name.replace('-', '_')}")
    classes = [each for each in vars(module).values() if dataclasses.is_dataclass(each)]
    (found,) = [each for each in classes if each.__name__.endswith("Options") and each.__module__ == module.__name__]
    return found


OPTIONS = {name: options_class(name) for name in TF_TRPO}
PROGRAMS = r"python (?:scripts/|-m (?:benchmarks|tf_trpo|pytest) )|make |pip install "
OF_OTHER_COMMITS = r"^ +git checkout .+\n(?: +.+\n)*"
"""A block of commands that begins with another commit, whose programs and options may be others."""
COMMANDS = {
    (page, command)
    for page, text in PAGES.items()
    for command in re.findall(
        rf"^ *((?:{PROGRAMS}).+)$", re.sub(OF_OTHER_COMMITS, "", text, flags=re.M).replace("\\\n", " "), re.M
    )
}
COMMANDS |= {
    (page, command)
    for page, text in PAGES.items()
    for command in re.findall(rf"`((?:{PROGRAMS})[^`]+)`", text)
    # Words in capitals are placeholders; a command without options is only mentioned.
    if " --" in command and not re.search(r"\.\.\.|\b[A-Z_]{2,}\b(?!-)", command)
}
ON_THEIR_OWN = {
    "README.md": "test_pages.py",
    "docs/environments.md": "test_environments.py",
    "docs/lecture.md": "test_lecture.py",
    "docs/memory.md": "test_memory_page.py",
    "docs/results/peers/README.md": "test_results_page.py",
}
"""Pages whose examples need more than to run, and where they are run."""
EXAMPLES = [page for page, text in PAGES.items() if "```python\n" in text and page not in ON_THEIR_OWN]
SLOW = {"docs/scaling.md": ["ray"], "docs/trackers.md": ["wandb", "mlflow"], "docs/tuning.md": ["optuna"]}
"""Pages whose blocks of the kind `python slow` take long, and the packages that the blocks need."""


@pytest.mark.parametrize("command", sorted({command for _, command in COMMANDS}))
def test_a_command_is_one_that_exists_and_parses(command):
    program, *words = shlex.split(re.sub(r"\$\w+", "1", command.removesuffix(" &")), comments=True)
    if program == "make":
        assert re.search(rf"^{words[0]}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    elif program == "pip":
        check_installation(words)
    elif words[:2] == ["-m", "benchmarks"]:
        parse_benchmark(words[2:])
    elif words[:2] == ["-m", "pytest"]:
        assert all((ROOT / word).exists() for word in words[2:] if word.startswith("tests/"))
    else:
        name, *options = words[2:] if words[0] == "-m" else (Path(words[0]).stem, *words[1:])
        # Help is shown for any other options.
        options = [option for option in options if option not in ("--help", "--help-all")]
        assert words[0] == "-m" or (ROOT / words[0]).is_file()
        check_options(name, options)


def check_options(name, words):
    """Raise if a command of the package does not take these options."""
    module = importlib.import_module(f"tf_trpo.cli.{name.replace('-', '_')}")
    if name == "train":
        OptionParser("train", CommandOptions, Experiment).read(words)
    # Runs to resume and the user's own presets do not exist here.
    if "--resume" in words or any(word.endswith(".yaml") for word in words):
        return
    if hasattr(module, "read_command"):
        module.read_command(words)
    else:
        parse(OPTIONS[name], words, name)


def check_installation(words):
    """Raise if an extra or a file of constraints that pip is given does not exist."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    asked = re.findall(r"^(?:\.|tf_trpo)\[([\w,]+)\]$", "\n".join(words), re.M)
    assert {extra for extras in asked for extra in extras.split(",")} <= {*settings["options.extras_require"]}
    assert "-c" not in words or (ROOT / words[words.index("-c") + 1]).is_file()


def options_of(form):
    """The options of a class of settings, a boolean one in its negative form too."""
    names = {name.replace("_", "-") for name in leaves(form)}
    return {f"--{prefix}{name}" for name in names for prefix in ("", "no-")}


def test_every_option_that_a_page_names_is_one_of_a_command():
    programs = [getattr(importlib.import_module(f"benchmarks.{module}"), name) for module, name in BENCHMARKS.values()]
    known = {"--help", "--help-all"}.union(*map(options_of, [Experiment, *OPTIONS.values(), *programs]))
    for page, text in PAGES.items():
        if page in ("CHANGELOG.md", "benchmarks/trials.md"):
            continue
        named = set(re.findall(r"`(--[a-z][a-z0-9-]*)(?:[ =][^`]*)?`", text))
        assert named - known == set(), page
        assert set(re.findall(r"`python -m benchmarks ([a-z-]+)", text)) <= BENCHMARKS.keys(), page


def test_commands_are_on_the_pages():
    found = {(page, command.split()[1]) for page, command in COMMANDS}
    assert found >= {(f"docs/{page}.md", "-m") for page in ("results", "performance", "serving")}
    assert found >= {("docs/tensorboard.md", f"scripts/{name}.py") for name in ("train", "plot")}
    assert found >= {("docs/serving.md", f"scripts/{name}.py") for name in ("export", "serve", "play")}
    assert found >= {("docs/start.md", f"scripts/{name}.py") for name in ("train", "evaluate", "export", "plot")}
    assert found >= {("saved_models/README.md", "-m"), ("saved_models/Hopper-v5/README.md", "scripts/train.py")}
    assert found >= {("README.md", "train"), ("README.md", "-m"), ("docs/installing.md", "install")}


def test_the_readme_is_short():
    assert len(PAGES["README.md"].splitlines()) <= 100


@pytest.mark.parametrize("page", EXAMPLES)
def test_its_examples_run(page, run_examples):
    examples, _ = run_examples(shortened(PAGES[page]))
    assert examples


def shortened(text):
    """A page with short trainings and searches: its examples must run, and need not learn."""
    text = re.sub(r"total_steps=[1-9]\d*(_\d{3})+", "total_steps=1_000", text)
    # Equal shapes share what is traced; workers need environments enough for their shards.
    text = re.sub(r"num_envs=\d+, num_steps=\d+(?!\d*, workers)", "num_envs=4, num_steps=256", text)
    return text.replace("num_steps=4096", "num_steps=32").replace("trials=20", "trials=2")


@pytest.mark.slow
@pytest.mark.parametrize("page", SLOW)
# The trackers' own warnings are not ours to mend.
@pytest.mark.filterwarnings("default")
def test_its_slow_examples_run(page, run_examples, monkeypatch):
    for package in SLOW[page]:
        pytest.importorskip(package)
    monkeypatch.setenv("WANDB_MODE", "offline")
    examples, _ = run_examples(shortened(PAGES[page]).replace("```python slow", "```python"))
    assert examples


def docstring_examples():
    """The indented blocks of docstrings that call the package by its name, by the names of the class or function."""
    found = {}
    for path in (ROOT / "tf_trpo").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                blocks = re.findall(r"(?<=\n\n)(?: {4}.*\n)+", f"{ast.get_docstring(node)}\n")
                examples = [block for block in blocks if re.search(r"\btf_trpo\.[\w.]+\(", block)]
                found |= {node.name: textwrap.dedent("\n".join(examples))} if examples else {}
    return found


DOCSTRINGS = docstring_examples()
SLOW_DOCSTRINGS = {"Tuning": "optuna"}
"""Classes whose examples take long, and the packages that these need."""


def test_the_examples_of_docstrings_are_found():
    assert DOCSTRINGS.keys() >= {"Experiment", "TRPO", "Tuning"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW_DOCSTRINGS)) for name in DOCSTRINGS]
)
def test_the_example_of_a_docstring_runs(name, run_examples):
    pytest.importorskip(SLOW_DOCSTRINGS.get(name, "tf_trpo"))
    run_examples(f"```python\nimport tf_trpo\n{shortened(DOCSTRINGS[name])}```")


def test_every_block_of_python_is_run():
    for page, text in PAGES.items():
        marks = set(re.findall(r"^ *```(.+)$", text, re.M))
        assert marks <= {"python", "python slow", "bash", "text", "yaml", "nginx"}, page
        assert "python slow" not in marks or page in SLOW
        for block in re.findall(r"```python slow\n(.*?)```", text, re.S):
            compile(block, page, "exec")


@pytest.mark.parametrize("page", [page for page, text in PAGES.items() if "```yaml" in text])
def test_its_presets_can_be_read(page, tmp_path):
    for number, block in enumerate(re.findall(r"```yaml\n(.*?)```", PAGES[page], re.S)):
        path = tmp_path / f"{number}.yaml"
        path.write_text(block)
        for environment in [*yaml.safe_load(block)["environments"], "CartPole-v1"]:
            assert Experiment.from_file(path, env=environment).env == environment


@pytest.mark.parametrize("page", PAGES)
def test_links_and_named_files_of_a_page_exist(page):
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", PAGES[page]):
        assert ((ROOT / page).parent / link).exists(), link
    for file in re.findall(r"`((?:\w+/)+[\w.]+\.\w+)`", PAGES[page]):
        assert (ROOT / file).exists() or (ROOT / "tf_trpo" / file).exists() or page == "CHANGELOG.md", file


@pytest.mark.parametrize("is_whole", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["short", "whole"])
def test_each_of_the_readmes_examples_runs_alone_and_learns(is_whole, run_examples, tmp_path):
    text = PAGES["README.md"]
    short = text.replace("total_steps=20_000", "total_steps=2_048").replace("total_steps=16_000", "total_steps=1_600")
    assert short.count("total_steps=") == text.count("total_steps=") == 2
    returns = []
    for name, block in zip(
        ("cartpole", "room"), re.findall(r"```python\n.+?```", text if is_whole else short, re.S), strict=True
    ):
        (example,), output = run_examples(block, xla=is_whole, folder=name)
        assert len(re.findall(r"^.", example, re.M)) <= 10
        returns += map(float, re.findall(r"'mean_return': (-?[0-9.]+)", output))
    cartpole, room = returns
    assert not is_whole or (cartpole > 300 and room > -40)
    assert (tmp_path / "cartpole" / "models" / "CartPole-v1" / "1" / "saved_model.pb").is_file()
    assert list((tmp_path / "cartpole" / "runs" / "cartpole" / "tensorboard").glob("events.*"))
    assert (tmp_path / "room" / "room.keras").is_file()


def test_the_film_exists_and_is_small():
    assert 0 < (ROOT / "docs" / "images" / "policies.gif").stat().st_size < 1_500_000
