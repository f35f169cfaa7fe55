"""The notebooks where people read them: JupyterLab in headless Chromium. A slider moves, and the picture changes.

Skipped without Chromium (Debian: apt install chromium). Screenshots and the response times go to $SSPCORE_SCREENSHOTS,
else to pytest's temporary folder. Data is that of $SSPCORE_PROFILE (default: smoke, rendered at first use).
"""

from __future__ import annotations

import json
import os
import statistics
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from helpers.browser import chromium, explorer_of, find_chromium, focus_slider, jupyterlab, response, run_notebook

PATIENCE = 300.0  # seconds for one step; rendering the smoke data is the longest
MOVES = 8

pytestmark = [
    pytest.mark.xdist_group("notebooks"),  # it makes artefacts in the same folder as they do
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
def page():
    with chromium(PATIENCE) as tab:
        yield tab


def pictures(explorer: Locator) -> list[str]:
    """What every canvas of the grid shows."""
    return explorer.evaluate("e => [...e.querySelectorAll('.grid canvas')].map(c => c.toDataURL())")


def test_notebook_02_follows_its_slider_and_a_click_shows_values(lab: str, page: Page, screenshots: Path):
    run_notebook(page, lab, "02_warps_and_occlusion.ipynb")
    explorer = explorer_of(page)
    before = pictures(explorer)
    page.screenshot(path=screenshots / "02_before.png")
    focus_slider(page, "frame")
    times = [response(page, explorer, key) for key in ("ArrowRight", "ArrowLeft") * (MOVES // 2)]
    for _ in range(50):  # the grid is drawn picture by picture
        if pictures(explorer) == before:
            break
        page.wait_for_timeout(200)
    assert pictures(explorer) == before, "there and back again is not the same picture"
    times.append(response(page, explorer, "ArrowRight"))
    page.wait_for_timeout(1000)
    after = pictures(explorer)
    assert len(after) == 12 and all(a != b for a, b in zip(before[:3], after[:3], strict=True)), "frames or flow stayed"
    report = {"frame slider, median ms": statistics.median(times), "all": times}
    (screenshots / "response.json").write_text(json.dumps(report, indent=1))

    explorer.locator(".grid canvas").first.click()
    expect(explorer.locator(".details")).to_contain_text("M_occ", timeout=1000 * PATIENCE)
    page.screenshot(path=screenshots / "02_clicked.png")
    explorer.locator(".mode").select_option("blink")
    over = explorer.locator(".stage .over")
    shown = {over.evaluate("e => e.style.clipPath") for _ in range(12) if page.wait_for_timeout(150) is None}
    assert len(shown) == 2, f"nothing blinks: {shown}"


def test_the_start_page_runs(lab: str, page: Page, screenshots: Path):
    run_notebook(page, lab, "00_start_here.ipynb")
    page.screenshot(path=screenshots / "00.png")
