"""The cache of XLA's programs: only intact ones, in a folder of the user, of limited size."""

import csv
import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tf_trpo.cli import compiled
from tf_trpo.locks import locked


@pytest.fixture
def folders(tmp_path):
    made = tmp_path / "store", tmp_path / "copy"
    for folder in made:
        folder.mkdir(mode=0o700)
    return made


def test_programs_that_are_kept_are_found_again(folders):
    store, copy = folders
    programs = {f"xla_{i}.pb": os.urandom(100 + i) for i in range(3)}
    for name, program in programs.items():
        (copy / name).write_bytes(program)
    (copy / "another.txt").write_bytes(b"no program")
    compiled.keep(copy, store)
    found = copy.parent / "found"
    found.mkdir()
    compiled.fetch(store, found)
    assert {path.name: path.read_bytes() for path in found.iterdir()} == programs


@pytest.mark.parametrize("damage", [lambda program: program[:-1], lambda program: b"", lambda program: program + b"0"])
def test_a_damaged_program_is_deleted_and_not_used(folders, damage):
    store, copy = folders
    program = os.urandom(100)
    for name in ("damaged.pb", "whole.pb"):
        (copy / name).write_bytes(program)
    compiled.keep(copy, store)
    for path in copy.iterdir():
        path.unlink()
    (damaged,) = store.glob("*damaged.pb")
    damaged.write_bytes(damage(program))
    compiled.fetch(store, copy)
    assert [path.name for path in copy.iterdir()] == ["whole.pb"]
    assert not damaged.exists()


def test_a_full_disk_leaves_no_part_of_a_program_that_would_be_kept_as_whole(folders, monkeypatch):
    store, copy = folders
    (copy / "program.pb").write_bytes(b"a whole program")
    compiled.keep(copy, store)
    (copy / "program.pb").unlink()
    kept = {path: path.read_bytes() for path in store.iterdir()}
    write = Path.write_bytes

    def full(path, program):
        write(path, program[:5])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        compiled.fetch(store, copy)
    assert not list(copy.iterdir())
    # A program that is known already is not stored under another checksum.
    (copy / "program.pb").write_bytes(b"a who")
    compiled.keep(copy, store)
    assert {path: path.read_bytes() for path in store.iterdir()} == kept


def test_copies_that_killed_processes_left_are_removed_and_those_in_use_are_not(tmp_path, monkeypatch):
    left, used, others = (tmp_path / f"tf_trpo-xla-{name}" for name in ("left", "used", "others"))
    for folder in (left, used, others):
        folder.mkdir(mode=0o700)
        (folder / "program.pb").write_bytes(b"a program")
    others.chmod(0o777)
    with locked(used, "it is in use"):
        compiled.remove_abandoned(tmp_path)
    assert sorted(tmp_path.iterdir()) == [others, used]


def test_the_copy_of_a_process_is_locked_until_it_is_removed(tmp_path, monkeypatch):
    for name, value in {"XDG_CACHE_HOME": tmp_path / "cache", "TF_XLA_FLAGS": ""}.items():
        monkeypatch.setenv(name, str(value))
    del os.environ["TF_XLA_FLAGS"]
    (tmp_path / "tf_trpo-xla-left").mkdir(mode=0o700)
    endings = []
    monkeypatch.setattr(compiled.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(compiled.atexit, "register", endings.append)
    compiled.reuse_compiled_programs(1)
    [copy] = tmp_path.glob("tf_trpo-xla-*")
    assert os.environ["TF_XLA_FLAGS"].endswith(f"={copy}")
    compiled.remove_abandoned(tmp_path)
    (copy / "program.pb").write_bytes(b"a program")
    endings.pop()()
    assert not copy.exists()
    assert [path.read_bytes() for path in tmp_path.glob("cache/tf_trpo/xla/*/*-program.pb")] == [b"a program"]


def test_the_oldest_programs_are_deleted_first(folders):
    store, copy = folders
    for i in range(5):
        (copy / f"{i}.pb").write_bytes(bytes([i]) * 100)
        compiled.keep(copy, store)
        for path in store.glob(f"*-{i}.pb"):
            os.utime(path, (i, i))
    compiled.keep(copy, store, largest=250)
    assert sorted(path.name.partition("-")[2] for path in store.iterdir()) == ["3.pb", "4.pb"]


@pytest.mark.parametrize("reason", ["flags", "group", "link", "file"])
def test_a_folder_that_others_can_write_to_is_not_used(reason, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("TF_XLA_FLAGS", raising=False)
    monkeypatch.setattr(compiled.atexit, "register", lambda *_: pytest.fail("it is used"))
    folder = compiled._folder(1)
    folder.parent.mkdir(parents=True)
    if reason == "flags":
        monkeypatch.setenv("TF_XLA_FLAGS", "--tf_xla_auto_jit=0")
    elif reason == "group":
        folder.mkdir()
        folder.chmod(0o775)
    elif reason == "link":
        folder.symlink_to(tmp_path)
    else:
        folder.write_text("a file")
    compiled.reuse_compiled_programs(1)
    assert os.environ.get("TF_XLA_FLAGS", "--tf_xla_auto_jit=0") == "--tf_xla_auto_jit=0"


def test_a_user_without_a_home_folder_has_no_cache(monkeypatch):
    for name in ("XDG_CACHE_HOME", "TF_XLA_FLAGS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(compiled.Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    compiled.reuse_compiled_programs(1)
    assert "TF_XLA_FLAGS" not in os.environ


def test_different_machines_have_different_folders(monkeypatch):
    folders = {compiled._folder(threads) for threads in (1, 2)}
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=false")
    folders.add(compiled._folder(1))
    monkeypatch.setattr(compiled.importlib.metadata, "version", lambda _: "0.0")
    folders.add(compiled._folder(1))
    assert len(folders) == 4


@pytest.mark.slow
def test_a_run_with_programs_of_an_earlier_run_gives_the_same_bits(tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "TF_XLA_FLAGS"}
    environment |= {"XDG_CACHE_HOME": str(tmp_path / "cache"), "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "tf_trpo", "train", "--env", "CartPole-v1", "--total-steps", "200", "--quiet"]
    command += ["--num-steps", "128", "--hidden-sizes", "4", "--eval-episodes", "1"]
    histories = []
    for number in range(2):
        run = tmp_path / f"run{number}"
        done = subprocess.run([*command, "--run-dir", str(run)], env=environment, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        with (run / "history.csv").open() as file:
            rows = [{name: row[name] for name in row if not name.startswith("time/")} for row in csv.DictReader(file)]
        histories.append(rows)
        programs = sorted((path.name, path.stat().st_mtime_ns) for path in tmp_path.glob("cache/tf_trpo/xla/*/*.pb"))
        histories.append(programs)
    assert len(histories[1]) == 2
    assert histories[:2] == histories[2:]
    assert not list(tmp_path.glob("tf_trpo-xla-*"))
