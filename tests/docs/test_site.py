"""The site: it builds without a warning, documents every public name, and fetches nothing from other hosts."""

import dataclasses
import importlib
import importlib.util
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

from tf_trpo import Experiment
from tf_trpo.cli import COMMANDS
from tf_trpo.experiment.conversion import classes_of, fields
from tf_trpo.optimizers import ALGORITHMS

pytest.importorskip("mkdocs")
ROOT = Path(__file__).parents[2]


def load_hooks():
    spec = importlib.util.spec_from_file_location("hooks", ROOT / "docs" / "hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


hooks = load_hooks()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the site; the build is strict, so a warning or a dead link is an error."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_every_package_with_public_names_has_a_page():
    folders = {path.parent.name for path in (ROOT / "tf_trpo").glob("*/__init__.py")} - {"cli"}
    public = {name for name in folders if hooks.public_names(name)} | {"figures"}
    assert set(hooks.packages()) == {"", *public}
    assert len(public) > 10


@pytest.mark.parametrize("package", hooks.packages())
def test_every_public_name_is_on_the_page_of_its_package(package, site):
    path = ".".join(filter(None, ("tf_trpo", package)))
    module = importlib.import_module(path)
    helpers = {"TYPE_CHECKING", "Mapping", "exports"}
    public = {
        name
        for name in dir(module)
        if not name.startswith("_") and name not in helpers and not isinstance(getattr(module, name), types.ModuleType)
    }
    assert set(hooks.public_names(package)) == public
    page = (site / "reference" / (package or "tf_trpo") / "index.html").read_text(encoding="utf-8")
    anchors = set(re.findall(r'id="([\w.]+)"', page))
    assert {f"{path}.{name}" for name in hooks.ALSO.get(package, ())} <= anchors
    assert {name for name in public if not anchors & {f"{path}.{name}", f"{path}.{name}.{name}"}} == set()


def test_the_page_of_a_class_shows_the_inherited_methods_that_users_call(site):
    page = (site / "reference" / "tf_trpo" / "index.html").read_text(encoding="utf-8")
    methods = ["for_env", "fit", *hooks.INHERITED["tf_trpo.TRPO"]]
    shown = re.findall(r'id="tf_trpo\.TRPO\.(\w+)"', page)
    assert {*methods} >= {
        "compile",
        "evaluate",
        "predict",
        "export",
        "save",
        "load_checkpoint",
        "clone",
        "imitate",
        "start_at_anchor",
    }
    assert sorted(shown) == sorted(methods)


def test_no_page_fetches_from_another_host(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        text = page.read_text(encoding="utf-8")
        fetched = re.findall(r"<(?:script|img|iframe|source)[^>]* src=\"?(https?:[^\" >]+)", text)
        fetched += re.findall(
            r"<link[^>]* rel=\"?(?:stylesheet|preconnect|preload)\"?[^>]*href=\"?(https?:[^\" >]+)", text
        )
        assert fetched == [], page


def test_every_link_of_every_page_leads_somewhere(site):
    anchors = {
        page: set(re.findall(r'id="?([^" >]+)', page.read_text(encoding="utf-8"))) for page in site.rglob("*.html")
    }
    followed = 0
    for page in anchors:
        for link in set(re.findall(r'(?:href|src)="?([^" >]+)', page.read_text(encoding="utf-8"))):
            if link.startswith(("http", "data:")):
                continue
            path, _, anchor = link.partition("#")
            # The error page may be shown at any address.
            target = (site if path.startswith("/") else page.parent) / path.lstrip("/") if path else page
            target = (target / "index.html" if target.is_dir() else target).resolve()
            assert target.exists(), (page, link)
            assert not anchor or anchor in anchors[target], (page, link)
            followed += 1
    assert followed > 1000


MARKS = re.findall(r"<!-- settings: (\S+) (\w+) -->", (ROOT / "docs" / "settings.md").read_text(encoding="utf-8"))


def settings_classes(kind):
    """A settings class, the classes of its own that it extends, and those of its parts."""
    own = {each for each in kind.__mro__ if dataclasses.is_dataclass(each) and dataclasses.fields(each)}
    for field, hint in fields(kind):
        for part in classes_of(field.name, hint):
            own |= settings_classes(part)
    return own


def test_every_class_of_settings_and_every_option_of_a_command_is_on_the_page_of_settings():
    shown = {(file, name) for file, name in MARKS}
    assert len(shown) == len(MARKS)
    options = set()
    for command in COMMANDS:
        module = importlib.import_module(f"tf_trpo.cli.{command.replace('-', '_')}")
        options |= {each for name, each in vars(module).items() if name.endswith("Options")}
    wanted = settings_classes(Experiment).union(*map(settings_classes, options)) - {Experiment}
    places = {(f"{each.__module__.replace('.', '/')}.py", each.__name__) for each in wanted}
    assert shown == places
    text = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert {
        name for name in (*ALGORITHMS, *COMMANDS, "env", "radius") if not re.search(rf"(`|### ){name}\b", text)
    } == set()


def test_every_marked_table_of_settings_is_whole(site):
    page = (site / "settings" / "index.html").read_text(encoding="utf-8")
    assert "<!-- settings" not in page
    names = Experiment(env="Pendulum-v1").flat().keys() - {"env", "algorithm", "radius"}
    assert {name for name in names if f"<code>{name}</code>" not in page} == set()


def test_the_links_of_borrowed_pages_lead_to_pages_of_the_site():
    assert hooks.site_link("README.md", "docs/results.md#mujoco") == "results.md#mujoco"
    assert hooks.site_link("README.md", "ARCHITECTURE.md") == "architecture.md"
    assert hooks.site_link("README.md", "LICENSE") is None
    assert hooks.site_link("docs/results.md", "../benchmarks/trials.md#x") == "trials.md#x"
    assert hooks.site_link("docs/networks.md", "../tf_trpo/models/__init__.py") == "reference/models.md"
    assert hooks.site_link("benchmarks/trials.md", "../docs/results.md") == "results.md"
    assert hooks.site_link("docs/results/peers/README.md", "../../performance.md") == "../../performance.md"
    assert hooks.site_link("README.md", "docs/notebooks/first_run.ipynb") == "notebooks/first_run.md"
    assert hooks.site_link("docs/notebooks/first_run.ipynb", "first_run.ipynb") == "first_run.ipynb"
