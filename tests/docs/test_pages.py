"""What holds for every page: links lead to files, and commands name options, scripts and targets that exist."""

import re
import shlex
from pathlib import Path

import pytest

from benchmarks.__main__ import parse as parse_benchmark
from tf_trpo import Experiment
from tf_trpo.cli.evaluate import EvaluateOptions
from tf_trpo.cli.export import ExportOptions
from tf_trpo.cli.parsing import OptionParser, parse
from tf_trpo.cli.play import PlayOptions
from tf_trpo.cli.plot import PlotOptions
from tf_trpo.cli.serve import ServeOptions
from tf_trpo.cli.train import CommandOptions, read_command

ROOT = Path(__file__).parents[2]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in [*ROOT.glob("*.md"), ROOT / "benchmarks" / "trials.md", *(ROOT / "docs").rglob("*.md")]
}
OPTIONS = {
    "evaluate": EvaluateOptions,
    "export": ExportOptions,
    "play": PlayOptions,
    "plot": PlotOptions,
    "serve": ServeOptions,
}
COMMANDS = {
    (page, command)
    for page, text in PAGES.items()
    for command in re.findall(r"^ *((?:python (?:scripts/|-m benchmarks )|make ).+)$", text.replace("\\\n", " "), re.M)
}


@pytest.mark.parametrize("command", sorted({command for _, command in COMMANDS}))
def test_a_command_is_one_that_exists_and_parses(command):
    program, *words = shlex.split(re.sub(r"\$\w+", "1", command.removesuffix(" &")), comments=True)
    if program == "make":
        assert re.search(rf"^{words[0]}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    elif words[0] == "-m":
        parse_benchmark(words[2:])
    elif words[0] == "scripts/train.py":
        # A run that is resumed is not there.
        OptionParser("train", CommandOptions, Experiment).read(words[1:])
        if "--resume" not in words:
            read_command(words[1:])
    else:
        name = Path(words[0]).stem
        parse(OPTIONS[name], words[1:], name)
        assert (ROOT / words[0]).is_file()


def test_commands_are_on_the_pages():
    found = {(page, command.split()[1]) for page, command in COMMANDS}
    assert found >= {(f"docs/{page}.md", "-m") for page in ("results", "performance", "serving")}
    assert found >= {("docs/tensorboard.md", f"scripts/{name}.py") for name in ("train", "plot")}
    assert found >= {("docs/serving.md", f"scripts/{name}.py") for name in ("export", "serve", "play")}
    assert found >= {("README.md", f"scripts/{name}.py") for name in ("train", *OPTIONS)}
    assert found >= {("README.md", "train"), ("README.md", "test"), ("README.md", "-m")}


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_links_to_and_files_that_it_names_are_there(page):
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", PAGES[page]):
        assert ((ROOT / page).parent / link).exists(), link
    for file in re.findall(r"`((?:\w+/)+[\w.]+\.\w+)`", PAGES[page]):
        assert (ROOT / file).exists() or (ROOT / "tf_trpo" / file).exists() or page == "CHANGELOG.md", file


@pytest.mark.parametrize("is_whole", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["short", "whole"])
def test_the_readmes_examples_run_and_learn(is_whole, run_examples, tmp_path):
    text = PAGES["README.md"]
    short = text.replace("total_steps=20_000", "total_steps=2_048").replace("total_steps=50_000", "total_steps=4_096")
    assert short.count("total_steps=") == text.count("total_steps=") == 2
    examples, output = run_examples(text if is_whole else short, xla=is_whole)
    assert all(len(example.splitlines()) <= 24 for example in examples)
    assert all(float(found) > 100 * is_whole for found in re.findall(r"'mean_return': ([0-9.]+)", output))
    assert output.count("mean_return") == 2
    assert (tmp_path / "saved_models" / "CartPole-v1" / "1" / "saved_model.pb").is_file()
    assert list((tmp_path / "runs" / "example").glob("events.*"))
