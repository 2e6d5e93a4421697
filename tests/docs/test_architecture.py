"""ARCHITECTURE.md: its table names files and what they define; its floors are those that import-linter checks."""

import ast
import configparser
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (.+?) \| `(\S+\.py)` \| `(\w+)` \|$", TEXT, re.MULTILINE)


def test_every_row_of_the_table_is_read():
    section = TEXT.partition("## Where to change what")[2].partition("##")[0]
    assert len(ROWS) == len([line for line in section.splitlines() if line.startswith("|")]) - 2 > 20
    assert len({what for what, _, _ in ROWS}) == len(ROWS)


@pytest.mark.parametrize(("file", "name"), [row[1:] for row in ROWS])
def test_every_file_in_the_table_defines_the_name_in_its_row(file, name):
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    assert name in defined | {ast.unparse(node.target) for node in tree.body if isinstance(node, ast.AnnAssign)}


def test_the_floors_are_those_that_are_checked():
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    checked = re.findall(r"tf_trpo\.(\w+)", settings["importlinter:contract:floors"]["layers"])
    drawn = re.findall(r"(\w+)/", TEXT.partition("    tf_trpo/\n")[2].partition("\n##")[0])
    assert [floor for floor in drawn if (ROOT / "tf_trpo" / floor).is_dir()] == checked
    folders = {path.name for path in (ROOT / "tf_trpo").iterdir() if (path / "__init__.py").exists()}
    assert set(checked) == folders
