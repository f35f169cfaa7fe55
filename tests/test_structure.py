"""The floors of the package: a file imports from its own folder and from those below, without circles; files stay short."""

from __future__ import annotations

import ast
import importlib.util
import json
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "sspcore"
LIBRARY = ("core", "metrics", "motion", "models", "data", "export", "training", "inference", "evaluation")
STUDY = ("synthetic", "study", "report", "explore", "cli")
FLOORS = (*LIBRARY, *STUDY)
STUDY_ONLY = ("papermill", "nbformat", "nbconvert", "nbclient", "IPython", "ipywidgets", "anywidget", "matplotlib")


def modules() -> dict[str, Path]:
    """Every module by its dotted name below the package."""
    return {".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in sorted(PACKAGE.rglob("*.py"))}


def imported(path: Path) -> set[str]:
    """Dotted names that a file imports, inside functions too; what only type checkers import does not count."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    checked = [node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)]
    skipped = {id(node) for block in checked for node in ast.walk(block)}
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import) and id(node) not in skipped:
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module and id(node) not in skipped:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def ours(path: Path) -> set[str]:
    """The package's modules that a file imports."""
    known, found = modules(), set()
    for name in imported(path):
        parts = name.split(".")
        if parts[0] != "sspcore":
            continue
        candidates = (".".join(parts[1:]), ".".join(parts[1:-1]))
        found |= {next((c for c in candidates if c in known or f"{c}.__init__" in known), "")} - {""}
    return found


@pytest.mark.parametrize("name", [name for name in modules() if name.count(".")])
def test_imports_lead_downwards(name):
    own = name.split(".")[0]
    above = {other for other in ours(modules()[name]) if FLOORS.index(other.split(".")[0]) > FLOORS.index(own)}
    assert not above, f"{name} imports from floors above its own: {sorted(above)}"


@pytest.mark.parametrize("name", [name for name in modules() if name.split(".")[0] in LIBRARY])
def test_the_library_needs_no_notebook_and_no_pictures(name):
    used = {other.split(".")[0] for other in imported(modules()[name])}
    assert not used & set(STUDY_ONLY)


def test_there_are_no_circles():
    known = modules()
    below = {name: ours(path) & known.keys() - {name} for name, path in known.items() if not name.endswith("__init__")}
    while True:
        leaves = {name for name, needs in below.items() if not needs & below.keys()}
        if not leaves:
            break
        below = {name: needs for name, needs in below.items() if name not in leaves}
    assert not below, f"import circle among {sorted(below)}"


def test_files_stay_short_and_the_top_is_nearly_empty():
    long = {name: lines for name, path in modules().items() if (lines := path.read_text(encoding="utf-8").count("\n")) > 300}
    assert not long, f"over 300 lines: {long}"
    assert len(list(PACKAGE.glob("*.py"))) <= 6


def scripts() -> dict[str, str]:
    """Code outside the package that no test runs as a whole: benchmarks, and the code of notebooks without its magics."""
    found = {path.name: path.read_text(encoding="utf-8") for path in (REPOSITORY / "benchmarks").glob("*.py")}
    for path in (REPOSITORY / "notebooks").glob("*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        lines = [line for cell in cells if cell["cell_type"] == "code" for line in "".join(cell["source"]).splitlines()]
        found[path.name] = "\n".join(line for line in lines if not line.startswith(("%", "!")))
    return found


@pytest.mark.parametrize("name", scripts())
def test_what_benchmarks_and_notebooks_import_from_the_package_is_there(name):
    for node in ast.walk(ast.parse(scripts()[name])):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sspcore"):
            module = importlib.import_module(node.module)
            for alias in node.names:
                below = hasattr(module, "__path__") and importlib.util.find_spec(f"{node.module}.{alias.name}")
                assert hasattr(module, alias.name) or below, f"{name}, line {node.lineno}: {node.module} has no {alias.name}"
