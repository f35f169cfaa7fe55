"""Code as part of keys: what counts is what runs, of a module and of all that it imports."""

from __future__ import annotations

import pytest

from sspcore.core import code

TEXTS = {
    "sspcore.a": "from sspcore.b import f\nimport sspcore.core.files\n\ndef g(x):\n    return f(x) + 1\n",
    "sspcore.b": "import typing\nif typing.TYPE_CHECKING:\n    from sspcore.c import C\ndef f(x):\n    return 2 * x\n",
    "sspcore.c": "class C:\n    TABLE = {'one': lambda x: x, 'two': lambda x: 2}\n    def m(self): return 1\n",
    "sspcore.d": "import sspcore.a\nfrom sspcore import c\n",
    "sspcore.core.files": "x = 1\n",
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of a few lines in place of this one; called with a module, it replaces a piece of its text."""
    def write(name: str, text: str) -> None:
        path = tmp_path.joinpath(*name.split(".")[1:]).with_suffix(".py")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    def change(name: str, old: str, new: str) -> None:
        assert old in TEXTS[name]
        write(name, TEXTS[name].replace(old, new))
        clear()

    def clear() -> None:
        for cached in (code.code_key, code.library_key):
            cached.cache_clear()

    for name, text in TEXTS.items():
        write(name, text)
    monkeypatch.setattr(code, "PACKAGE", tmp_path)
    clear()
    yield change
    clear()


@pytest.mark.parametrize("module, old, new", [
    ("sspcore.a", "+ 1", "+ 2"), ("sspcore.a", "g(x)", "g(y)"), ("sspcore.b", "2 * x", "2 * x * 1"),
    ("sspcore.b", "return", "yield"),
])
def test_a_changed_line_here_or_in_what_is_imported_changes_the_key(package, module, old, new):
    def keys() -> list[str]:
        return [code.code_key("sspcore.a"), code.code_key("sspcore.d"), code.library_key()]

    before = keys()
    package(module, old, new)
    assert all(a != b for a, b in zip(before, keys(), strict=True))


@pytest.mark.parametrize("module, old, new", [
    ("sspcore.a", "    return", "    # why\n    return"), ("sspcore.a", "    return", '    """What it does."""\n\n    return'),
    ("sspcore.b", "2 * x", "(2 *\n            x)"), ("sspcore.b", "import typing", '"""What it is."""\nimport typing'),
    ("sspcore.core.files", "1", "2"), ("sspcore.c", "return 1", "return 2"),
])
def test_comments_layout_plumbing_and_what_is_not_imported_do_not(package, module, old, new):
    before = code.code_key("sspcore.a")
    package(module, old, new)
    assert code.code_key("sspcore.a") == before


def test_following_ends_where_it_is_told_to(package):
    before = code.code_key("sspcore.a", without=frozenset({"sspcore.b"}))
    assert before != code.code_key("sspcore.a")
    package("sspcore.b", "2 * x", "3 * x")
    assert code.code_key("sspcore.a", without=frozenset({"sspcore.b"})) == before


def test_one_definition_is_taken_alone(package):
    parts = [f"sspcore.c:C.{name}" for name in ("TABLE.one", "TABLE.two", "m")]
    before = [code.code_key(part) for part in parts]
    package("sspcore.c", "lambda x: x,", "lambda x: -x,")
    assert [code.code_key(part) == key for part, key in zip(parts, before, strict=True)] == [False, True, True]


@pytest.mark.parametrize("root", ["sspcore.nothing", "sspcore.c:nothing", "sspcore.c:C.nothing", "numpy"])
def test_a_root_that_does_not_exist_is_an_error(package, root):
    with pytest.raises(KeyError):
        code.code_key(root)
