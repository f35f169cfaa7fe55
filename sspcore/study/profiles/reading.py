"""YAML as people write it: a key set twice is an error, and 1e-3 is a number."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from sspcore.core.errors import ProfileError


class _Loader(yaml.SafeLoader):
    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        keys: dict[str, yaml.Node] = {}
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if keys.setdefault(key.value, key) is not key:  # YAML would take the later one
                raise ProfileError(f"{key.value} (line {key.start_mark.line + 1}): is set twice; keep one of the two")
        return node


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789"))


def read_yaml(path: Path) -> Any:
    """The content of a YAML file as JSON values. Raises: ProfileError if it cannot be read or sets a key twice."""
    try:
        tree = _Loader(path.read_text(encoding="utf-8")).get_single_data()
        return json.loads(json.dumps(tree, default=str))
    except ProfileError as error:
        raise ProfileError(f"{path.name}: {error}") from None
    except (yaml.YAMLError, ValueError, OSError, RecursionError) as error:  # ValueError: no text, no such date, a circle
        raise ProfileError(f"{path.name}: not readable as YAML ({str(error).splitlines()[0]}); mend the file") from error
