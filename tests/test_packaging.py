"""The wheel and the source distribution: they hold only the library, and the installed package runs."""

import configparser
import email
import fnmatch
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import tf_trpo
from tf_trpo.extras import EXTRAS

ROOT = Path(__file__).parents[1]
BUILD = (
    # setuptools changes sys.argv.
    "import sys; from setuptools import build_meta as b; _, folder, *kinds = sys.argv;"
    "print(*[getattr(b, f'build_{kind}')(folder) for kind in kinds])"
)
BESIDE = ("py.typed", "cli/report.html")
"""Files of the package that are no code, beside the presets."""


def build(source, output, *kinds):
    """Distributions of the given kinds, built from a folder as pip does, without the network."""
    output.mkdir(exist_ok=True)
    command = [sys.executable, "-c", BUILD, str(output), *kinds]
    result = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr
    return [output / name for name in result.stdout.splitlines()[-1].split()]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the checkout, in which a build may leave files."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in ("setup.cfg", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    (copy / "saved_models").mkdir()
    (copy / "saved_models" / "README.md").touch()
    for name in ("tf_trpo", "benchmarks", "examples", "tests"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    return copy


@pytest.fixture(scope="module")
def built(checkout, tmp_path_factory):
    """The wheel and the source distribution; to start setuptools takes longer than to build."""
    return build(checkout, tmp_path_factory.mktemp("built"), "wheel", "sdist")


@pytest.fixture(scope="module")
def wheel(built):
    return built[0]


def files_of_the_package():
    package = ROOT / "tf_trpo"
    code = {path.relative_to(ROOT).as_posix() for path in package.rglob("*.py")}
    presets = {path.relative_to(ROOT).as_posix() for path in (package / "experiment" / "presets").glob("*.yaml")}
    assert len(presets) >= 3
    return code | presets | {f"tf_trpo/{name}" for name in BESIDE}


def test_the_changelog_has_a_date_for_the_version():
    heading = rf"^## {re.escape(tf_trpo.__version__)}, \d{{4}}-\d{{2}}-\d{{2}}$"
    assert re.search(heading, (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)


def test_the_wheel_holds_the_library_and_nothing_else(wheel):
    assert wheel.name == f"tf_trpo-{tf_trpo.__version__}-py3-none-any.whl"
    names = set(zipfile.ZipFile(wheel).namelist())
    about = {name for name in names if name.startswith(f"tf_trpo-{tf_trpo.__version__}.dist-info/")}
    assert names - about == files_of_the_package()
    assert any(name.endswith("LICENSE") for name in about)


def test_the_wheel_declares_its_dependencies(wheel):
    archive = zipfile.ZipFile(wheel)
    [path] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
    metadata = email.message_from_bytes(archive.read(path))
    assert metadata["Requires-Python"] in (">=3.11,<3.14", "<3.14,>=3.11")
    extras = set(metadata.get_all("Provides-Extra"))
    assert extras >= {"mujoco", "box2d", "envpool", "figures", "serve", "play", "onnx", "warmup", "tune", "test"}
    needed = [line for line in metadata.get_all("Requires-Dist") if "extra ==" not in line]
    assert any(line.startswith(("tensorflow<", "tensorflow>")) for line in needed)
    assert not any(line.startswith(("optuna", "matplotlib", "mujoco", "pytest")) for line in needed)
    [entry] = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
    assert "tf_trpo = tf_trpo.cli:main" in archive.read(entry).decode()


def test_every_extra_that_an_error_names_exists_and_no_message_names_a_published_package():
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    assert set(EXTRAS.values()) <= {*settings["options.extras_require"]}
    # No index has tf_trpo: whoever publishes a package of this name would be installed.
    texts = {path: path.read_text(encoding="utf-8") for path in (ROOT / "tf_trpo").rglob("*.py")}
    assert {path.name for path, text in texts.items() if "pip install -e" in text} == {"extras.py", "model_card.py"}
    assert [path for path, text in texts.items() if re.search(r"pip install (?!-e )|tf_trpo\[", text)] == []
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    assert [path for path in pages if re.search(r"pip install \S*tf_trpo\[", path.read_text(encoding="utf-8"))] == []


def test_the_source_distribution_makes_the_same_wheel(built, tmp_path):
    wheel, source = built
    assert source.name == f"tf_trpo-{tf_trpo.__version__}.tar.gz"
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
        archive.extractall(tmp_path / "source", filter="data")
    assert files_of_the_package() | {"setup.cfg", "pyproject.toml", "README.md", "LICENSE"} <= names
    beside = {"benchmarks", "examples", "saved_models", "tests"}
    assert not beside & {name.partition("/")[0] for name in names}
    [again] = build(tmp_path / "source" / source.name.removesuffix(".tar.gz"), tmp_path / "again", "wheel")
    assert set(zipfile.ZipFile(again).namelist()) == set(zipfile.ZipFile(wheel).namelist())


def test_the_unpacked_wheel_runs(wheel, tmp_path):
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    code = "from tf_trpo.experiment import presets as p; print(p.__file__); print(p.bundled_presets())"
    environment = {**os.environ, "PYTHONPATH": str(site)}
    how = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True, "timeout": 120, "check": True}
    printed = subprocess.run([sys.executable, "-c", code], **how).stdout.splitlines()
    assert printed == [
        str(site / "tf_trpo" / "experiment" / "presets.py"),
        "['box2d', 'classic_control', 'fast', 'mujoco']",
    ]
    version = subprocess.run([sys.executable, "-m", "tf_trpo", "--version"], **how).stdout
    assert version == f"tf_trpo {tf_trpo.__version__}\n"


def test_docker_is_sent_what_the_dockerfile_copies_and_no_large_folder():
    patterns = {line for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] != "#"}
    assert patterns >= {".git", ".venv", "build", "dist", "runs", "**/__pycache__", "**/.mypy_cache"}
    copies = re.findall(r"^COPY (.+) \S+$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.M)
    copied = {*" ".join(copies).split()} - {"tf_trpo"} | files_of_the_package()
    assert {"setup.cfg", "constraints.txt"} < copied
    for path in copied:
        first, *_ = parts = path.split("/")
        assert not any(fnmatch.fnmatch(first, pattern) for pattern in patterns), path
        assert not any(fnmatch.fnmatch(f"**/{part}", pattern) for part in parts for pattern in patterns), path


class Installation:
    """An empty virtual environment in which the wheel is installed."""

    def __init__(self, folder, wheel):
        self.folder, self.wheel = folder, wheel
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True, timeout=300)
        (folder / "demonstrations.py").write_text(DEMONSTRATIONS)
        (folder / "served.py").write_text(SERVED)
        self.install("serve")
        self.at_first = self.installed()

    def run(self, *command, seconds=600):
        """The output of a command of the environment's Python, in an empty folder."""
        path = f"{self.folder / 'venv' / 'bin'}:{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "MINARI_DATASETS_PATH": str(self.folder / "minari")}
        environment.pop("PYTHONPATH", None)
        how = {"capture_output": True, "text": True, "timeout": seconds, "check": False}
        found = subprocess.run(["python", *map(str, command)], cwd=self.folder, env=environment, **how)
        assert found.returncode == 0, found.stderr[-2000:]
        return found.stdout

    def install(self, extra):
        constraints = ROOT / "constraints.txt"
        self.run("-m", "pip", "install", "--quiet", f"{self.wheel}[{extra}]", "-c", constraints, seconds=1800)

    def installed(self):
        return set(self.run("-m", "pip", "freeze").splitlines())

    def remove_extra(self):
        added = [line.partition("==")[0] for line in self.installed() - self.at_first]
        if added:
            self.run("-m", "pip", "uninstall", "--quiet", "--yes", *added)


@pytest.fixture(scope="module")
def installation(wheel, tmp_path_factory):
    return Installation(tmp_path_factory.mktemp("installation"), wheel)


TRAIN = "-m tf_trpo train --total-steps 1000 --eval-episodes 1 --env"
COMMANDS = {
    "mujoco": f"{TRAIN} Hopper-v5",
    "box2d": f"{TRAIN} LunarLander-v3",
    "envpool": f"{TRAIN} CartPole-v1 --preset none --backend envpool",
    "figures": "-m tf_trpo plot runs/whole",
    "play": "-m tf_trpo play whole --video whole.mp4 --episodes 1",
    "onnx": "-m tf_trpo export runs/whole --output onnx --format onnx",
    "warmup": "-m tf_trpo export runs/whole --output warm --warmup",
    "tune": "-m tf_trpo tune --env CartPole-v1 --trials 1 --steps 1000 --check-seeds 2",
    "demonstrations": "demonstrations.py",
    "ray": f"{TRAIN} CartPole-v1 --workers 1 --num-envs 4",
}
"""A command that needs an extra, and no other one."""


DEMONSTRATIONS = """
from tf_trpo.demonstrations import read, record, write
write(record(lambda observation: 1, "CartPole-v1", episodes=2), "wheel/right-v0")
assert len(read("wheel/right-v0").episodes) == 2
"""
SERVED = """
import json, subprocess, sys, urllib.request
command = [sys.executable, "-m", "tf_trpo", "serve", "whole", "--port", "0"]
with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
    line = next(line for line in server.stderr if "http://" in line)
    url = line[line.index("http://"):].split()[0].rstrip("/.,")
    body = json.dumps({"instances": [[0.0, 0.1, 0.02, -0.1]]}).encode()
    with urllib.request.urlopen(f"{url}:predict", body, timeout=60) as answer:
        (action,) = json.load(answer)["predictions"]
    server.terminate()
print(server.wait(), action)
"""


@pytest.mark.slow
def test_the_wheel_in_an_empty_environment_trains_evaluates_exports_and_serves(installation):
    installation.run(*shlex.split(f"{TRAIN} CartPole-v1 --run-dir runs/whole"))
    assert "mean_return" in installation.run("-m", "tf_trpo", "evaluate", "runs/whole", "--json")
    installation.run("-m", "tf_trpo", "export", "runs/whole", "--output", "whole")
    assert installation.run("served.py") in ("0 0\n", "0 1\n")


@pytest.mark.slow
@pytest.mark.parametrize("extra", COMMANDS)
def test_each_extra_alone_is_enough_for_what_it_is_for(installation, extra):
    installation.install(extra)
    try:
        installation.run(*shlex.split(COMMANDS[extra]))
    finally:
        installation.remove_extra()
