"""Outputs of an executed notebook, made fit for the repository: small, still, and without traces of the machine.

Kept are text, tables (HTML), Markdown and pictures as PNG, and the source as it is. Standard error (progress, log, warnings),
widgets, other forms of a picture and papermill's notes are left out. A moving picture becomes a still and a link to its file.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from typing import Any

from sspcore.core.errors import SspError
from sspcore.core.notebooks import COMPARED, PUBLISHED, notebook_text, tags
from sspcore.study.small_pictures import rgb, still, within

Notebook = dict[str, Any]
Link = Callable[[bytes, str], str | None]  # a picture and the suffix of its file -> where a notebook finds it, if anywhere

LIMIT = 1_000_000  # bytes of a notebook's file
KEPT = ("text/html", "text/markdown", "text/latex", "text/plain")  # beside pictures
OF_A_MACHINE = re.compile(r"(?<![\w./:])(?:/(?:home|root|Users|tmp|private|mnt|media)/|[A-Z]:\\\\?Users)[^\s\"'<>]*")
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_VIDEO = re.compile(r'src="data:video/(\w+);base64,([^"]+)"')
_SHOWN_WIDTH = 900  # pixels of a page


def with_outputs(
    source: Notebook, executed: Notebook, about: Mapping[str, Any], link: Link, places: Mapping[str, str]
) -> Notebook:
    """A notebook with the outputs of its executed copy.

    Args:
        about: the run that they are from, for `metadata.sspcore.published`.
        places: folders of this machine -> what is written in their place.
    Raises: SspError naming the cell if the copy is of another text, a cell failed or was left out, or a compared cell shows
        something else than the notebook holds.
    """
    notebook = deepcopy(source)
    made = {cell.get("id"): cell for cell in executed["cells"]}
    injected = [cell["execution_count"] or 0 for cell in executed["cells"] if "injected-parameters" in tags(cell)]
    for cell in notebook["cells"]:
        copy, where = made.get(cell.get("id")), f"cell {cell.get('id')}"
        if copy is None or "".join(copy["source"]) != "".join(cell["source"]):
            raise SspError(f"{where}: the executed copy has another text")
        if cell["cell_type"] != "code":
            continue
        count = copy["execution_count"]
        if count is None:
            raise SspError(f"{where}: was not executed")
        cell["execution_count"] = count - sum(count > other for other in injected)  # as if nothing had been injected
        outputs = [kept for output in copy["outputs"] for kept in _kept(output, where, link, places)]
        for output in outputs:
            if output["output_type"] == "execute_result":
                output["execution_count"] = cell["execution_count"]
        if COMPARED in tags(cell) and _texts(outputs) != _texts(cell["outputs"]):
            raise SspError(f"{where}: is compared and shows something else than the notebook holds")
        cell["outputs"] = outputs
    notebook["metadata"].setdefault("sspcore", {})[PUBLISHED] = dict(about)
    _fit(notebook)
    return notebook


def without_outputs(source: Notebook) -> Notebook:
    """A notebook without outputs but for those of its compared cells, which are the same under every profile."""
    notebook = deepcopy(source)
    notebook["metadata"].get("sspcore", {}).pop(PUBLISHED, None)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code" and COMPARED not in tags(cell):
            cell |= {"outputs": [], "execution_count": None}
    return notebook


def problems(notebook: Notebook) -> Iterator[str]:
    """What in a notebook's outputs is not for the repository, a line each."""
    size = len(notebook_text(notebook).encode())
    if size > LIMIT:
        yield f"{size / 1e6:.2f} MB, more than {LIMIT / 1e6:g}"
    for name in ("widgets", "papermill"):
        if name in notebook["metadata"]:
            yield f"metadata of {name}"
    published = PUBLISHED in notebook["metadata"].get("sspcore", {})
    for cell in notebook["cells"]:
        where = f"cell {cell.get('id')}"
        if extra := cell["metadata"].keys() & {"papermill", "execution"}:
            yield f"{where}: metadata of {', '.join(sorted(extra))}"
        outputs = cell.get("outputs", [])
        if outputs and not published and COMPARED not in tags(cell):
            yield f"{where}: an output that no publication has written"
        for output in outputs:
            if output["output_type"] == "error" or output.get("name") == "stderr":
                yield f"{where}: {output.get('name', 'an error')}"
            if other := output.get("data", {}).keys() - {*KEPT, "image/png"}:
                yield f"{where}: {', '.join(sorted(other))}"
        if found := OF_A_MACHINE.search(_texts(outputs)):
            yield f"{where}: a path of a machine, {found[0]}"


def _kept(output: Mapping[str, Any], where: str, link: Link, places: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """What is kept of an output: none, one, or a still and a link."""
    if output["output_type"] == "error":
        raise SspError(f"{where}: failed with {output['ename']}")
    if output["output_type"] == "stream":
        if output["name"] == "stdout":
            yield {"name": "stdout", "output_type": "stream", "text": _lines(_plain(output["text"], places))}
        return
    data = {kind: "".join(value) for kind, value in output["data"].items() if isinstance(value, (str, list))}
    kept: dict[str, Any] = {kind: _lines(_plain(value, places)) for kind, value in data.items() if kind in KEPT}
    if movie := _movie(data):
        yield _display({"image/png": _text(still(*movie)), "text/plain": ["a frame of a moving picture"]})
        yield from _linked(link(*movie), "Moving picture")
    elif "image/png" in data:
        shape = {name: value for name, value in output["metadata"].get("image/png", {}).items() if name in ("width", "height")}
        yield {
            **output, "data": {"image/png": data["image/png"].replace("\n", ""), "text/plain": kept.get("text/plain", [])},
            "metadata": {"image/png": shape} if shape else {},
        }
        yield from _linked(link(base64.b64decode(data["image/png"]), ".png"), "Full size")
    elif kept and not any("widget" in kind for kind in output["data"]):
        yield {**output, "data": kept, "metadata": {}}


def _display(data: dict[str, Any]) -> dict[str, Any]:
    return {"data": data, "metadata": {}, "output_type": "display_data"}


def _linked(place: str | None, what: str) -> Iterator[dict[str, Any]]:
    if place is not None:
        yield _display({"text/markdown": [f"{what}: [{place.split('/')[-1]}]({place})"]})


def _movie(data: Mapping[str, str]) -> tuple[bytes, str] | None:
    """A moving picture in an output, and the suffix of its file."""
    if "image/gif" in data:
        return base64.b64decode(data["image/gif"]), ".gif"
    found = _VIDEO.search(data.get("text/html", ""))
    return (base64.b64decode(found[2]), f".{found[1]}") if found else None


def _plain(text: str | list[str], places: Mapping[str, str]) -> str:
    """Text without places of this machine and addresses in its memory."""
    text = _ADDRESS.sub("", "".join(text))
    for place in sorted(places, key=len, reverse=True):
        text = text.replace(place, places[place])
    return text


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _texts(outputs: list[dict[str, Any]]) -> str:
    """All text of outputs, one after the other; pictures left out."""
    parts = [part for output in outputs for part in (output.get("text"), *_without_pictures(output.get("data", {})))]
    return "".join("".join(part) for part in parts if part)


def _without_pictures(data: Mapping[str, Any]) -> list[Any]:
    return [data[kind] for kind in sorted(data) if not kind.startswith("image/")]


def _fit(notebook: Notebook) -> None:
    """Make pictures as small as the notebook's limit asks for; each is shown as wide as before."""
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    shown = [output for output in outputs if "image/png" in output.get("data", {})]
    pictures = [base64.b64decode(output["data"]["image/png"]) for output in shown]
    for output in shown:
        output["data"]["image/png"] = ""
    room = (LIMIT - len(notebook_text(notebook).encode())) * 3 // 4 - 100 * len(shown)  # base64, and their metadata
    for output, picture, small in zip(shown, pictures, within(room, pictures), strict=True):
        output["data"]["image/png"] = _text(small)
        output["metadata"].setdefault("image/png", {}).setdefault("width", min(_SHOWN_WIDTH, rgb(picture).width))
