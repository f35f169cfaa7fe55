"""Docstrings as Sphinx is to read them: plain text with names in single backticks, and entries such as `Returns: text`."""

from __future__ import annotations

import re

FIELD = re.compile(r"([A-Za-z_]\w*(?:, \w+)*|[A-Z]\w+ \w+): (?=\S)")    # a name, or a title of two words
CODE = re.compile(r"(``?[^`]+``?)")
SIGNS = re.compile(r"(?<=\S)[*]|[*](?=\S)|[|]|_(?!\w)")    # not the star of a list


def find_fields(lines: list[str]) -> set[int]:
    """Numbers of the lines such as `Returns: text` that only indented lines go on, up to an empty line or another field."""
    found, ends = set(), True
    for number, line in reversed(list(enumerate(lines))):
        if number and ends and FIELD.match(line):    # the first line is a summary
            found.add(number)
        elif not line.startswith("    "):
            ends = not line
    return found


def as_rst(lines: list[str]) -> list[str]:
    """A docstring in reStructuredText.

    `Returns: text` becomes a field, an indented block after an empty line code, and signs of markup stay signs. Sections
    such as `Args:` are left to the extension napoleon.
    """
    fields, found, code = find_fields(lines), [], False
    for number, line in enumerate(lines):
        after_empty = number > 0 and not lines[number - 1]
        if line and not line.startswith("    "):
            code = False
        elif line and after_empty and not code and not line.lstrip().startswith(("- ", "* ")):
            found += ["::", ""]
            code = True
        if number in fields and number - 1 not in fields and not after_empty:
            found.append("")
        if not code:
            line = "".join(part if k % 2 else SIGNS.sub(r"\\\g<0>", part) for k, part in enumerate(CODE.split(line)))
        found.append(FIELD.sub(r":\1: ", line, count=1) if number in fields else line)
    return found
