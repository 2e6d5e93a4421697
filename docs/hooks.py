"""Make pages of the site from other files while mkdocs builds the site; mkdocs.yml names this file.

The home page is README.md. Four more pages are files of other folders, each notebook is a page, and the API reference
has a page for each public package. So each text is written once.
"""

from __future__ import annotations

import ast
import base64
import functools
import json
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from mkdocs.utils import get_relative_url

from tf_trpo.cli.parsing import documented_fields

ROOT = Path(__file__).parents[1]
BORROWED = {
    "index.md": "README.md",
    "architecture.md": "ARCHITECTURE.md",
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "trials.md": "benchmarks/trials.md",
}
"""Pages of the site, and the files of the repository that they show."""
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
FILES = {**BORROWED, **{f"notebooks/{path.stem}.md": f"docs/notebooks/{path.name}" for path in NOTEBOOKS}}
"""The same with the notebooks."""
ALSO = {
    "experiment": (
        "run.TrainedRun",
        "settings.EnvironmentSettings",
        "settings.RolloutSettings",
        "settings.RunSettings",
        "settings.StartSettings",
    ),
    "figures": ("histories.read_history",),
    "serving": ("local_policy.LocalPolicy", "remote_policy.RemotePolicy"),
}
"""Names of modules that the pages speak of and that no package has at its top, since importing them takes seconds."""
INHERITED = {
    "tf_trpo.TRPO": (
        "compile",
        "start_at_anchor",
        "imitate",
        "clone",
        "evaluate",
        "predict",
        "export",
        "save",
        "load_checkpoint",
    ),
}
"""Inherited methods that the page of a class shows, since its users call them; other classes show only their own."""
_REEXPORT = re.compile(r"^ *(?:from \S+ import \(?\s*(\w+) as \1\b|([A-Z_]+)(?::.*)? = )", re.MULTILINE)
_SETTINGS = re.compile(r"<!-- settings: (\S+) (\w+) -->")
_CLASS = re.compile(r"<code>([A-Z]\w+)</code>(?!</a>)")
_LINK = re.compile(r"^```.*?^```$|(!?)\[([^\]]*)\]\(([^)\s]+)\)", re.DOTALL | re.MULTILINE)
"""A block of code, in which nothing is a link, or a link."""


def public_names(package: str) -> list[str]:
    """Read the public names of a package, such as "numerics", from its `__init__.py`; "" is tf_trpo itself."""
    text = (ROOT / "tf_trpo" / package / "__init__.py").read_text(encoding="utf-8")
    names = [first or second for first, second in _REEXPORT.findall(text)]
    # The packages have pages of their own.
    return [name for name in names if package or not (ROOT / "tf_trpo" / name).is_dir()]


def packages() -> list[str]:
    """Give the packages with public names, "" first."""
    folders = sorted(path.parent.name for path in (ROOT / "tf_trpo").glob("*/__init__.py"))
    return ["", *(name for name in folders if name in ALSO or (name != "cli" and public_names(name)))]


def reference_page(package: str) -> str:
    """Write the page of a package for mkdocstrings: its docstring, then its public names."""
    path = ".".join(filter(None, ("tf_trpo", package)))
    blocks = [f"# {path}\n\n::: {path}\n    options: {{show_root_heading: false, members: false}}\n"]
    for name in public_names(package):
        # A module of the same name hides the function in a static analysis.
        hidden = (ROOT / "tf_trpo" / package / f"{name}.py").exists()
        block = f"::: {path}.{name}.{name}\n" if hidden else f"::: {path}.{name}\n"
        inherited = INHERITED.get(f"{path}.{name}")
        blocks.append(f"{block}    options: {{inherited_members: [{', '.join(inherited)}]}}\n" if inherited else block)
    blocks += [f"::: {path}.{name}\n" for name in ALSO.get(package, ())]
    return "\n".join(blocks)


def notebook_page(path: Path) -> tuple[str, dict[str, bytes]]:
    """Convert a notebook with its outputs.

    Returns:
      Markdown, and the pictures in it: names and the bytes of PNG files.
    """
    parts, pictures = [], {}
    for number, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"]):
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
        for output in cell.get("outputs", []):
            data = output.get("data", {"text/plain": output.get("text", "")})
            if "image/png" in data:
                name = f"{path.stem}_{number}.png"
                pictures[name] = base64.b64decode(data["image/png"])
                parts.append(f"![Output of the code above]({name})")
            else:
                parts.append(f"```text\n{''.join(data['text/plain']).rstrip()}\n```")
    parts.append(f"[Download this notebook]({path.name})")
    return "\n\n".join(parts), pictures


@functools.cache
def places_of_classes() -> dict[str, tuple[str, str]]:
    """Find the page and the anchor of each public class in the API reference, by the class's name."""
    places: dict[str, tuple[str, str]] = {}
    for package in packages():
        path = ".".join(filter(None, ("tf_trpo", package)))
        for name in public_names(package):
            places.setdefault(name, (f"reference/{package or 'tf_trpo'}/", f"{path}.{name}"))
    return places


def settings_table(file: str, name: str) -> str:
    """Make a table of the fields of a class: names, defaults and docstrings.

    Args:
      file: path in the repository.
      name: of the class.
    """
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    (definition,) = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name]
    rows = ["| name | default | meaning |", "|---|---|---|"]
    for field, text in documented_fields(definition):
        default = "required" if field.value is None else f"`{ast.unparse(field.value)}`"
        default = "required" if "dataclasses.field(kw_only" in default else default
        meaning = " ".join(text.split()).replace("|", "\\|")
        rows.append(f"| `{ast.unparse(field.target)}` | {default} | {meaning} |")
    return "\n".join(rows)


def site_link(source: str, link: str) -> str | None:
    """Translate a link of a file of the repository to a link of the site.

    Args:
      source: path of the file in the repository.
      link: relative to the file.

    Returns:
      The link relative to the page, or None if its target is no page or picture of the site.
    """
    target, mark, anchor = link.partition("#")
    pages = {file: page for page, file in FILES.items()}
    pages |= {f"tf_trpo/{name}/__init__.py": f"reference/{name}.md" for name in packages()[1:]}
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    if path not in pages and not path.startswith("docs/"):
        return None
    # A notebook's page links to the notebook itself.
    page = path.removeprefix("docs/") if path == source else pages.get(path, path.removeprefix("docs/"))
    own = pages.get(source, source.removeprefix("docs/"))
    return posixpath.relpath(page, posixpath.dirname(own) or ".") + mark + anchor


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages of the API reference into the navigation."""
    entries: list[Any] = config.nav or []
    (reference,) = (entry for entry in entries if "API reference" in entry)
    reference["API reference"] = [f"reference/{name or 'tf_trpo'}.md" for name in packages()]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are no files of docs/."""
    for page, source in BORROWED.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    for path in NOTEBOOKS:
        text, pictures = notebook_page(path)
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=text))
        for name, picture in pictures.items():
            files.append(File.generated(config, f"notebooks/{name}", content=picture))
    for name in packages():
        files.append(File.generated(config, f"reference/{name or 'tf_trpo'}.md", content=reference_page(name)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links lead to pages of the site, and put the tables of settings where they are named.

    Of a link to another file of the repository, the text and the file's name are left.
    """
    source = FILES.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def translated(match: re.Match[str]) -> str:
        mark, text, link = match.groups()
        if link is None or link.startswith(("http://", "https://", "#")):
            return match[0]
        target = site_link(source, link)
        return f"{mark}[{text}]({target})" if target else f"{text} (`{posixpath.basename(link)}`)"

    return _SETTINGS.sub(lambda match: settings_table(*match.groups()), _LINK.sub(translated, markdown))


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Link the names of public classes to the API reference."""

    def linked(match: re.Match[str]) -> str:
        url, anchor = places_of_classes().get(match[1], ("", ""))
        if not url:
            return match[0]
        return f'<a href="{get_relative_url(url, page.url)}#{anchor}">{match[0]}</a>'

    return _CLASS.sub(linked, html)
