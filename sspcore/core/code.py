"""The code behind an artefact as part of its key: a changed line makes the artefact stale, a changed comment does not.

A version number in a key has to be raised by hand, and is forgotten. So `code_key` reads the code itself: the syntax tree
of a module, without docstrings, comments and layout, and of all modules of the package that it imports, directly or
through others.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from sspcore.core.store import stable_hash

PACKAGE = Path(__file__).resolve().parents[1]
# They move, lock, find and show files; what an artefact holds does not depend on them.
PLUMBING = frozenset(
    f"sspcore.core.{name}"
    for name in (
        "checksums", "code", "errors", "files", "loading", "lock", "parallel", "paths", "progress", "provenance", "store",
    )
)


@cache
def code_key(*roots: str, without: frozenset[str] = frozenset()) -> str:
    """Hash of the code of `roots` and of all that they import from this package.

    Args:
        roots: dotted modules ("sspcore.training.loop"); or one definition of a module ("sspcore.models.systems:build", of a
            dictionary one entry: "sspcore.models.systems:METHODS.ssp"), followed to functions of the same module alone.
        without: modules at which following ends, beside PLUMBING; their effect must be part of the key in another way.
    Raises: KeyError for a root that does not exist.
    """
    hashes = {root: _definition(*root.split(":")) for root in roots if ":" in root}
    todo = [root for root in roots if ":" not in root]
    while todo:
        module = todo.pop()
        if module not in hashes and module not in PLUMBING | without:
            hashes[module], imported = _parsed(source(module))
            todo += [found for names in imported if (found := next(filter(_file, names), None)) is not None]
    return stable_hash(hashes)


@cache
def library_key() -> str:
    """Hash of the code of the whole package."""
    files = (path.relative_to(PACKAGE).with_suffix("").parts for path in PACKAGE.rglob("*.py"))
    return code_key(*sorted(".".join(("sspcore", *parts)).removesuffix(".__init__") for parts in files))


@cache
def _parsed(text: str) -> tuple[str, frozenset[tuple[str, ...]]]:
    """Hash of a module's text, and for each of its imports the names that the imported module may have."""
    tree = ast.parse(text)
    return stable_hash(_plain(tree)), frozenset(_imported(tree))


def _definition(module: str, path: str) -> str:
    """Hash of one definition of a module, and of the functions of that module that it names."""
    tree: Any = ast.parse(source(module))
    top, node = dict(_named(tree)), tree
    for name in path.split("."):
        node = dict(_named(node))[name]
    found, todo = {path: node}, [node]
    while todo:
        named = {each.id for each in ast.walk(todo.pop()) if isinstance(each, ast.Name)} - found.keys()
        new = {name: top[name] for name in named if isinstance(top.get(name), ast.FunctionDef)}
        found |= new
        todo += new.values()
    return stable_hash({name: _plain(each) for name, each in found.items()})


def source(module: str) -> str:
    """The text of a module of the package. Raises KeyError if there is none of that name."""
    path = _file(module)
    if path is None:
        raise KeyError(f"{module}: no module of this package")
    return path.read_text(encoding="utf-8")


def _file(module: str) -> Path | None:
    package, *parts = module.split(".")
    base = PACKAGE.joinpath(*parts)
    found = (path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file())
    return next(found, None) if package == "sspcore" else None


def _imported(node: ast.AST) -> Iterator[tuple[str, ...]]:
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
        return  # that is no code
    if isinstance(node, ast.ImportFrom) and node.module:
        yield from ((f"{node.module}.{alias.name}", node.module) for alias in node.names)
    if isinstance(node, ast.Import):
        yield from ((alias.name,) for alias in node.names)
    for child in ast.iter_child_nodes(node):
        yield from _imported(child)


def _named(node: Any) -> Iterator[tuple[str, ast.AST]]:
    """What a module, class or assigned dictionary defines, by name."""
    if isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(node.value, ast.Dict):
        entries = zip(node.value.keys, node.value.values, strict=True)
        yield from ((key.value, value) for key, value in entries if isinstance(key, ast.Constant))
    for child in getattr(node, "body", ()):
        for target in getattr(child, "targets", [getattr(child, "target", child)]):
            yield getattr(target, "name", getattr(target, "id", "")), child


def _plain(node: Any) -> Any:
    """A syntax tree as JSON values: without places and docstrings, and without empty fields, which vary with Python."""
    if isinstance(node, list):
        return [_plain(item) for item in node if not _is_docstring(item)]
    if isinstance(node, ast.AST):
        return [type(node).__name__, {name: _plain(value) for name, value in ast.iter_fields(node) if value not in (None, [])}]
    return repr(node)


def _is_docstring(node: Any) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
