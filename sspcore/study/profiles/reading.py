"""Reading YAML with what its readers let pass in silence made an error: a key set twice, yes or no for a number."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from sspcore.core.errors import ProfileError


def read_yaml(path: Path) -> Any:
    """The content of a YAML file, by the safe loader. Raises: ProfileError if it cannot be read or sets a key twice."""
    try:
        text = path.read_text(encoding="utf-8")
        repeated = next(_repeated_keys(yaml.compose(text, yaml.SafeLoader)), None)
        tree = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, OSError, RecursionError) as error:  # ValueError: bytes that are no text, 2026-02-31
        raise ProfileError(f"{path.name}: not readable as YAML ({str(error).splitlines()[0]}); mend the file") from error
    if repeated is not None:  # YAML would take the later one
        raise ProfileError(f"{path.name}: {repeated}: is set twice; keep one of the two")
    return tree


def yes_for_a_number(given: Any, read: Any, where: str = "") -> Iterator[str]:
    """Settings given as a boolean and read as something else: `yes` would count as 1.

    Args:
        given: as written. read: the same tree after validation.
    """
    if isinstance(given, bool) and not isinstance(read, bool):
        yield where
    elif isinstance(given, dict) and isinstance(read, dict):
        for key, value in given.items():
            yield from yes_for_a_number(value, read.get(key), f"{where}.{key}" if where else str(key))
    elif isinstance(given, (list, tuple)) and isinstance(read, list):
        for k, (value, kept) in enumerate(zip(given, read, strict=False)):
            yield from yes_for_a_number(value, kept, f"{where}.{k}")


def _repeated_keys(node: yaml.Node | None, where: str = "") -> Iterator[str]:
    """Dotted keys that a mapping sets twice. What an alias stands for is looked at where it is written."""
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            name = f"{where}{key.value}" if isinstance(key, yaml.ScalarNode) else where
            if name in seen:
                yield f"{name} (line {key.start_mark.line + 1})"
            seen.add(name)
            if value.start_mark.index > key.start_mark.index:
                yield from _repeated_keys(value, f"{name}.")
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            if item.start_mark.index > node.start_mark.index:
                yield from _repeated_keys(item, where)
