"""The notebooks where people read them: JupyterLab in headless Chromium. A slider moves, and the picture changes.

Skipped without Chromium (Debian: apt install chromium). Screenshots and the response times go to $SSPCORE_SCREENSHOTS,
else to pytest's temporary folder. Data is that of $SSPCORE_PROFILE (default: smoke, rendered at first use).
"""

from __future__ import annotations

import json
import math
import os
import statistics
import time
from pathlib import Path

import pytest

from helpers.browser import ROOT, Page, chromium, find_chromium, jupyterlab

PATIENCE = 300.0  # seconds for one step; rendering the smoke data is the longest
MOVES = 8

pytestmark = [
    pytest.mark.skipif(find_chromium() is None, reason="Chromium is not installed (Debian: apt install chromium)"),
    pytest.mark.skipif(
        "CI" in os.environ and "SSPCORE_BROWSER" not in os.environ,
        reason="minutes of browser time: on CI only where SSPCORE_BROWSER is set",
    ),
]


@pytest.fixture(scope="module")
def screenshots(tmp_path_factory) -> Path:
    return Path(os.environ.get("SSPCORE_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with jupyterlab(tmp_path_factory.mktemp("lab"), os.environ.get("SSPCORE_PROFILE", "smoke"), PATIENCE) as address:
        yield address


@pytest.fixture
def page(tmp_path):
    with chromium(tmp_path / "chromium", PATIENCE) as tab:
        yield tab


def pictures(page: Page, explorer: str) -> list[str]:
    """What every canvas of the grid shows."""
    return page.run(f"[...{explorer}.querySelectorAll('.grid canvas')].map(c => c.toDataURL())")


def test_a_slider_of_notebook_02_changes_the_pictures(lab, page, screenshots):
    page.open_notebook(lab, "02_warps_and_occlusion.ipynb")
    page.run_all()
    explorer = page.explorer()
    before = pictures(page, explorer)
    page.screenshot(screenshots / "02_before.png")
    page.focus_slider("frame")
    times = [page.response(explorer, key) for key in ("ArrowRight", "ArrowLeft") * (MOVES // 2)]
    deadline = time.monotonic() + PATIENCE  # the grid is drawn picture by picture
    while pictures(page, explorer) != before:
        assert time.monotonic() < deadline, "there and back again is not the same picture"
        time.sleep(0.2)
    times.append(page.response(explorer, "ArrowRight"))
    after = pictures(page, explorer)
    page.screenshot(screenshots / "02_after.png")
    assert not any(map(math.isnan, times)), f"a move of the slider brought no new picture: {times}"
    assert len(after) == 12 and all(a != b for a, b in zip(before[:3], after[:3], strict=True)), "frames or flow stayed"
    report = {"frame slider, median ms": statistics.median(times), "all": times}
    (screenshots / "response.json").write_text(json.dumps(report, indent=1))


def test_a_click_shows_the_pixels_values(lab, page, screenshots):
    page.open_notebook(lab, "02_warps_and_occlusion.ipynb")
    page.run_all()
    explorer = page.explorer()
    box = page.run(f"(() => {{ const b = {explorer}.querySelector('.grid canvas').getBoundingClientRect();"
                   " return [b.x + b.width / 2, b.y + b.height / 2]; })()")
    page.click(*box)
    text = page.wait("the values", f"{explorer}.querySelector('.details').textContent.includes('RGB') && "
                                   f"{explorer}.querySelector('.details').textContent")
    assert "of frame k" in text and "M_occ" in text
    page.screenshot(screenshots / "02_clicked.png")


@pytest.mark.skipif(not (ROOT / "notebooks/00_start_here.ipynb").is_file(), reason="there is no start page yet")
def test_the_start_page_runs(lab, page, screenshots):
    page.open_notebook(lab, "00_start_here.ipynb")
    page.run_all()
    page.screenshot(screenshots / "00.png")
