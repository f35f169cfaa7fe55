"""Files of data sets: YAML as people write it, made whole with what follows from the rest."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from sspcore.core.classes import class_spec
from sspcore.core.errors import ReleaseError
from sspcore.core.store import stable_hash
from sspcore.core.yaml_files import read_mapping
from sspcore.data.datasets.spec import DatasetSpec

EXAMPLE = Path(__file__).with_name("uavid.yaml")
FILE_NAME = "dataset.yaml"
_HELP = '"Your own data" in data/README.md of the repository'
VALIDATION_SHARE = 0.25  # where the file says nothing of validation

_ADAPTER = TypeAdapter(DatasetSpec)
_SETTINGS = (
    "title", "classes", "moving", "labels", "label_classes", "unlabelled", "files", "first_frame", "validation",
    "validation_share", "frame_step", "input_size", "sequence", "sources", "archives",
)


def read_spec(path: Path) -> DatasetSpec:
    """The data set that a YAML file describes; the files of its layouts are looked for below the file's folder.

    Its name is the file's, or its folder's where the file is called dataset.yaml, spelt so that folders can bear it.

    Raises: ReleaseError naming the file, the setting, what is wrong with it and what to do.
    """
    try:
        return _ADAPTER.validate_json(json.dumps(_completed(read_mapping(path), path), default=str), strict=True)
    except ValidationError as error:
        raise ReleaseError(f"{path}: {_explained(error)}; see {_HELP}") from error
    except ValueError as error:
        raise ReleaseError(f"{path}: {error}; see {_HELP}") from error


def _completed(content: dict[str, Any], path: Path) -> dict[str, Any]:
    """What a file says, with what it leaves out; raises ValueError for what no type can tell."""
    if unknown := [str(key) for key in content if key not in _SETTINGS]:
        raise ValueError(f"{unknown[0]}: unknown setting; choose from {', '.join(_SETTINGS)}")
    whole = path.resolve()
    title = title_of(path)
    colours = _colours(content.get("classes"))
    given: dict[str, Any] = {
        "title": title, "moving": [], "labels": list(colours), **content, "classes": list(colours),
        "palette": list(colours.values()), "name": slug(title), "root": str(whole.parent),
    }
    if isinstance(given["labels"], list):
        _refuse_twice("labels", given["labels"])
        given["labels"] = {name: number for number, name in enumerate(given["labels"])}
    elif isinstance(given["labels"], dict):
        given["labels"] = {_text("labels", name): _code(name, code) for name, code in given["labels"].items()}
    files = content.get("files")
    says_nothing = not {"validation", "validation_share"} & content.keys()
    if says_nothing and isinstance(files, dict) and not any("{split}" in str(layout) for layout in files.values()):
        given["validation_share"] = VALIDATION_SHARE
    return given


def _colours(classes: Any) -> dict[str, Any]:
    """Display colour of each class, chosen where the file only lists names."""
    if isinstance(classes, list):
        names = [_text("classes", name) for name in classes]
        _refuse_twice("classes", names)
        return dict(zip(names, class_spec(names).palette, strict=True))
    if not isinstance(classes, dict):
        raise ValueError("classes: " + ("is missing" if classes is None else f"{classes!r} is no list") + (
            "; name the classes, as in [road, car], or give each its display colour, as in {road: [128, 64, 128]}"
        ))
    for name, colour in classes.items():
        if not _is_triple(colour):
            raise ValueError(
                f"classes: {name}: {colour!r} is no colour; give red, green and blue, as in [128, 64, 128], to each class "
                "or to none"
            )
    return {_text("classes", name): colour for name, colour in classes.items()}


def _code(name: Any, code: Any) -> Any:
    if type(code) is int or _is_triple(code):
        return code
    raise ValueError(f"labels: {name}: {code!r} is neither a colour, as in [128, 64, 128], nor an id, as in 3; correct it")


def _is_triple(colour: Any) -> bool:
    return isinstance(colour, list) and len(colour) == 3 and all(type(value) is int for value in colour)


def _text(setting: str, name: Any) -> str:
    if isinstance(name, str) and name.strip():
        return name
    # YAML reads a plain no as false, and 3 as a number
    raise ValueError(f"{setting}: {name!r} is no name; write it in quotes")


def _refuse_twice(setting: str, names: list[Any]) -> None:
    if twice := [name for name, count in Counter(map(str, names)).items() if count > 1]:
        raise ValueError(f"{setting}: {twice[0]} is named twice; keep one of the two")


def _explained(error: ValidationError) -> str:
    """The first fault that a validation found, as setting and problem."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if part not in ("function-after", "int", "tuple"))
    problem = first["msg"].removeprefix("Value error, ")
    if first["type"] in ("missing", "missing_argument"):
        problem = "is missing"
    elif first["type"] == "string_type":
        problem = f"{first['input']!r} is no text; write it in quotes"
    elif first["type"] == "tuple_type":
        problem = f"{first['input']!r} is no list; write one, as in [{first['input']}]"
    elif first["type"] == "literal_error":
        place, problem = place.removesuffix(".[key]"), f"unknown kind of file; choose from {first['ctx']['expected']}"
    return f"{place}: {problem}" if place else problem


def title_of(path: Path) -> str:
    """Title of a data set whose file gives none."""
    return path.resolve().parent.name if path.name == FILE_NAME else path.stem


def slug(title: str) -> str:
    """A title as the name of a folder: lower case letters, digits and "-"; never empty."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-") or f"dataset-{stable_hash(title)[:6]}"
