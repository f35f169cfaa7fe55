"""Outputs for the repository: what is kept of an executed notebook, what is cleaned, what is refused."""

from __future__ import annotations

import base64
import io
import json

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from sspcore.core.errors import SspError
from sspcore.core.notebooks import notebook_text, source_of
from sspcore.study import notebook_outputs
from sspcore.study.chapters import chapter_key
from sspcore.study.notebook_outputs import problems, with_outputs, without_outputs
from sspcore.study.small_pictures import rgb, within

ABOUT = {"commit": "c0ffee", "profile": "demo", "seed": 0, "data": "d"}
PLACES = {"/somewhere/checkout/data/": "data/", "/somewhere/checkout/": ""}


def as_values(notebook: nbformat.NotebookNode) -> dict:
    return json.loads(nbformat.writes(notebook))


def picture(width: int = 40, height: int = 30, colours: int = 256) -> bytes:
    """A picture that does not get smaller by compression."""
    noise = np.random.default_rng(0).integers(0, colours, (height, width, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    return file.getvalue()


def movie() -> bytes:
    """Three frames, the middle one red."""
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("blue", "red", "green")]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    return file.getvalue()


def text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def shown(**data) -> nbformat.NotebookNode:
    return new_output("display_data", data={name.replace("_", "/"): value for name, value in data.items()})


class Pair:
    """A notebook of one cell beside the parameters, and its executed copy, which shows `outputs`."""

    def __init__(self, *outputs: nbformat.NotebookNode, tags: tuple[str, ...] = (), stored: tuple = ()) -> None:
        cells = [
            new_markdown_cell("# 03 · A title", id="title"),
            new_code_cell("seed = 0", id="parameters", metadata={"tags": ["parameters"]}),
            new_code_cell("show()", id="cell", metadata={"tags": list(tags)}, outputs=list(stored)),
        ]
        self.source = as_values(new_notebook(cells=cells, metadata={"sspcore": {"optional": True}}))
        injected = new_code_cell("seed = 1", id="other", metadata={"tags": ["injected-parameters"]}, execution_count=2)
        made = [cells[0], cells[1].copy(), injected, cells[2].copy()]
        made[1].execution_count, made[3].execution_count, made[3].outputs = 1, 3, list(outputs)
        made[3].metadata = {"tags": list(tags), "papermill": {"start_time": "2026-01-01T00:00:00"}, "execution": {}}
        self.executed = as_values(new_notebook(cells=made, metadata={"papermill": {}, "widgets": {}}))
        self.linked: list[tuple[bytes, str]] = []

    def link(self, content: bytes, suffix: str) -> str | None:
        self.linked.append((content, suffix))
        return "../figures/uavid_movie.mp4" if suffix == ".gif" else None

    def published(self) -> dict:
        return with_outputs(self.source, self.executed, ABOUT, self.link, PLACES)

    def outputs(self) -> list[dict]:
        return self.published()["cells"][2]["outputs"]


def test_the_source_stays_and_outputs_are_the_executed_copys():
    pair = Pair(new_output("stream", name="stdout", text="a line\n"))
    notebook = pair.published()
    nbformat.validate(nbformat.from_dict(notebook))
    assert source_of(notebook) == source_of(pair.source)
    assert [cell["id"] for cell in notebook["cells"][1:]] == ["parameters", "cell"]
    assert [cell["metadata"] for cell in notebook["cells"]] == [cell["metadata"] for cell in pair.source["cells"]]
    assert notebook["metadata"] == {"sspcore": {"optional": True, "published": ABOUT}}
    assert [cell["execution_count"] for cell in notebook["cells"][1:]] == [1, 2]  # as if nothing had been injected
    assert notebook["cells"][2]["outputs"] == [{"name": "stdout", "output_type": "stream", "text": ["a line\n"]}]
    assert list(problems(notebook)) == [] and without_outputs(notebook) == pair.source


def test_progress_warnings_widgets_and_other_forms_of_a_picture_are_left_out():
    small = picture()
    both = shown(image_png=text(small) + "\n", text_html="<img>", image_svg="<svg>", text_plain="<Figure>")
    both.data["application/pdf"] = "x"
    view = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/plain": "Box"}
    widget = new_output("display_data", data=view)
    pair = Pair(new_output("stream", name="stderr", text="12%|██"), widget, both, shown(text_html="<table></table>"))
    first, second = pair.outputs()
    assert first["data"].keys() == {"image/png", "text/plain"} and first["data"]["text/plain"] == ["<Figure>"]
    assert np.array_equal(rgb(base64.b64decode(first["data"]["image/png"])), rgb(small))
    assert second["data"] == {"text/html": ["<table></table>"]}
    assert list(problems(pair.published())) == []


def test_places_of_a_machine_and_addresses_are_taken_out():
    lines = "/somewhere/checkout/data/demo/export: made\n<object at 0x7f00aa>\n"
    (output,) = Pair(new_output("stream", name="stdout", text=lines)).outputs()
    assert output["text"] == ["data/demo/export: made\n", "<object>\n"]
    left = Pair(new_output("stream", name="stdout", text="see /home/somebody/video.mp4 and https://a.b/home/c\n"))
    assert list(problems(left.published())) == ["cell cell: a path of a machine, /home/somebody/video.mp4"]


@pytest.mark.parametrize("output", [
    shown(image_gif=text(movie()), text_plain="<Image>"),
    shown(text_html=f'<video controls><source src="data:video/gif;base64,{text(movie())}"></video>'),
])
def test_a_moving_picture_becomes_a_still_and_a_link(output):
    pair = Pair(output)
    still, link = pair.outputs()
    assert rgb(base64.b64decode(still["data"]["image/png"])).getpixel((0, 0)) == (255, 0, 0)
    assert link["data"] == {"text/markdown": ["Moving picture: [uavid_movie.mp4](../figures/uavid_movie.mp4)"]}
    assert pair.linked == [(movie(), ".gif")]


def test_a_notebook_of_large_pictures_stays_below_the_limit_and_shows_them_as_wide(monkeypatch):
    monkeypatch.setattr(notebook_outputs, "LIMIT", 200_000)
    wide = picture(1000, 60)
    notebook = Pair(*(shown(image_png=text(wide)) for _ in range(2)), shown(image_png=text(picture()))).published()
    assert list(problems(notebook)) == [] and 100_000 < len(notebook_text(notebook)) <= 200_000
    widths = [output["metadata"]["image/png"]["width"] for output in notebook["cells"][2]["outputs"]]
    assert widths == [900, 900, 40]


def test_pictures_that_fit_keep_all_pixels_and_those_that_cannot_are_the_smallest():
    plain, noisy = picture(64, 64, 2), picture(500, 64)
    assert all(rgb(a) == rgb(b) for a, b in zip(within(10**6, [plain, noisy]), [plain, noisy], strict=True))
    assert rgb(within(10, [noisy])[0]).width == 450


@pytest.mark.parametrize("spoil, message", [
    (lambda made: made["cells"][3].update(source=["other()"]), "cell cell: the executed copy has another text"),
    (lambda made: made["cells"].pop(), "cell cell: the executed copy has another text"),
    (lambda made: made["cells"][3].update(execution_count=None), "cell cell: was not executed"),
    (lambda made: made["cells"][3]["outputs"].append(
        {"output_type": "error", "ename": "ValueError", "evalue": "", "traceback": []}), "cell cell: failed with ValueError"),
])
def test_a_copy_that_is_not_of_this_notebook_or_not_whole_is_refused(spoil, message):
    pair = Pair(new_output("stream", name="stdout", text="a\n"))
    spoil(pair.executed)
    with pytest.raises(SspError, match=message):
        pair.published()


def test_a_compared_cell_shows_what_the_notebook_holds():
    one, two = (new_output("stream", name="stdout", text=f"{number} parts\n") for number in (1, 2))
    same = Pair(one, tags=("nbval-check-output",), stored=(one,))
    assert without_outputs(same.published())["cells"][2]["outputs"] == same.source["cells"][2]["outputs"] != []
    with pytest.raises(SspError, match="cell cell: is compared and shows something else than the notebook holds"):
        Pair(two, tags=("nbval-check-output",), stored=(one,)).published()


def test_what_no_publication_has_written_is_named():
    pair = Pair(new_output("stream", name="stdout", text="a\n"))
    by_hand = pair.executed | {"cells": [pair.executed["cells"][3]]}
    assert list(problems(by_hand)) == [
        "metadata of widgets", "metadata of papermill", "cell cell: metadata of execution, papermill",
        "cell cell: an output that no publication has written",
    ]


def test_outputs_run_nothing_again_and_a_changed_text_does(tmp_path):
    pair, path = Pair(new_output("stream", name="stdout", text="a\n")), tmp_path / "03_a.ipynb"

    def key(notebook: dict) -> str:
        path.write_text(notebook_text(notebook))
        return chapter_key(path, {"seed": 0}, "inputs")

    assert key(pair.source) == key(pair.published())
    for change in (
        lambda cells, about: cells[2].update(source=["show(2)"]), lambda cells, about: cells[0].update(source=["# Other"]),
        lambda cells, about: cells[1]["metadata"].clear(), lambda cells, about: about["sspcore"].update(optional=False),
        lambda cells, about: cells.pop(0),
    ):
        other = json.loads(notebook_text(pair.source))
        change(other["cells"], other["metadata"])
        assert key(other) != key(pair.source)
