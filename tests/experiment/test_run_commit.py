"""The commit in a run folder: only changes of the package make it dirty."""

import subprocess

import pytest

from tf_trpo.experiment.provenance import commit_of


@pytest.fixture
def git(tmp_path):
    """git(*arguments): its output in a checkout with a package and a document."""

    def run(*arguments):
        own = ["-c", "user.name=x", "-c", "user.email=x", "-c", "commit.gpgsign=false"]
        done = subprocess.run(["git", *own, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    run("init", "--quiet")
    for path in (tmp_path / "package" / "code.py", tmp_path / "docs" / "table.csv"):
        path.parent.mkdir()
        path.write_text("1\n")
    run("add", ".")
    run("commit", "--quiet", "--message", "first")
    return run


def test_only_what_is_in_the_package_makes_it_dirty(git, tmp_path):
    commit = git("rev-parse", "HEAD")
    assert len(commit) == 40
    for changed, expected in (("docs/table.csv", commit), ("docs/more.csv", commit), ("package/more.py", None)):
        (tmp_path / changed).write_text("2\n")
        assert commit_of(tmp_path / "package") == (expected or f"{commit}-dirty")
    (tmp_path / "package" / "more.py").unlink()
    (tmp_path / "package" / "code.py").write_text("2\n")
    assert commit_of(tmp_path / "package") == f"{commit}-dirty"


def test_outside_of_a_checkout_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert commit_of(tmp_path) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit_of(tmp_path) is None


def test_the_checkout_of_something_else_is_none(git, tmp_path):
    installed = tmp_path / ".venv" / "lib" / "tf_trpo"
    installed.mkdir(parents=True)
    (installed / "__init__.py").touch()
    for ignored in ("", ".venv"):
        (tmp_path / ".gitignore").write_text(ignored)
        assert commit_of(installed) is None
