"""The pages of the library's reference: one a module, one a folder; Sphinx reads the docstrings when it builds them."""

from __future__ import annotations

import ast
from pathlib import Path

from sspcore.core.paths import PACKAGE
from sspcore.report.site.pages import write_page

LIBRARY = ("core", "metrics", "motion", "models", "data", "export", "training", "inference", "evaluation")
SCRIPTS = PACKAGE / "export" / "device"  # of a bundle: programs of their own, not to be imported


def write_reference(folder: Path) -> int:
    """Write the reference into `folder`; returns the number of modules."""
    layers = {name: _modules(PACKAGE / name) for name in LIBRARY}
    about = {name: first_line(PACKAGE / name / "__init__.py") for name in LIBRARY}
    write_page(folder / "index.md", "reference.md.jinja", layers=about)
    for name, modules in layers.items():
        lines = {dotted: first_line(path) for dotted, path in modules.items()}
        write_page(folder / f"sspcore.{name}.md", "layer.md.jinja", name=f"sspcore.{name}", about=about[name], modules=lines)
        for dotted in modules:
            write_page(folder / f"{dotted}.md", "module.md.jinja", name=dotted)
    return sum(map(len, layers.values()))


def first_line(path: Path) -> str:
    """Of a module's docstring."""
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]


def _modules(folder: Path) -> dict[str, Path]:
    """Dotted name -> file, of the modules below a folder of the package that have something to say."""
    paths = [path for path in sorted(folder.rglob("*.py")) if SCRIPTS not in path.parents]
    paths.remove(folder / "__init__.py")
    names = [".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__") for path in paths]
    return {name: path for name, path in zip(names, paths, strict=True) if first_line(path)}
