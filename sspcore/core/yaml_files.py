"""YAML as people write it: a key set twice is an error, and 1e-3 is a number."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml


class _Loader(yaml.SafeLoader):
    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        keys: dict[str, yaml.Node] = {}
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if keys.setdefault(key.value, key) is not key:  # YAML would take the later one
                raise _TwiceError(f"{key.value} (line {key.start_mark.line + 1}): is set twice; keep one of the two")
        return node


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789"))


class _TwiceError(ValueError):
    pass


def read_mapping(path: Path) -> dict[str, Any]:
    """The settings of a file.

    Raises: ValueError saying in one line what is wrong; the file is not named in it.
    """
    try:
        tree = _Loader(path.read_text(encoding="utf-8-sig")).get_single_data()
        json.dumps(tree, default=str)  # a circle of YAML's references is an error here
    except _TwiceError:
        raise
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror}); check its name and permissions") from error
    # ValueError: no text, no such date, a circle; TypeError: a date for a key
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"not readable as YAML ({str(error).splitlines()[0]}); correct the file") from error
    if not isinstance(tree, dict):
        raise ValueError("expected a mapping of settings at the top level")
    return tree
