"""JupyterLab in the machine's own Chromium, driven by playwright: what the browser test and the benchmark share."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Locator, Page, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "browser-test"
WINDOW = {"width": 1400, "height": 2000}  # tall enough for a whole explorer: JupyterLab scrolls inside the page
_KERNEL = "notebook.context.sessionContext?.session?.kernel?.status === 'idle'"
_CELLS = "[...notebook.content.model.cells].filter(c => c.type === 'code').map(c => c.toJSON())"
# milliseconds from a key on the focused slider to the frame in which the new pictures are on the screen
_SHOWN = """explorer => { window.shown = new Promise(resolve => {
  let pressed;
  addEventListener('keydown', () => { pressed = performance.now(); }, {capture: true, once: true});
  const watch = new MutationObserver(() => requestAnimationFrame(() => {
    watch.disconnect(); resolve(performance.now() - pressed); }));
  watch.observe(explorer, {attributes: true, attributeFilter: ['data-version']});
}); }"""


def find_chromium() -> str | None:
    """Chromium's or Chrome's executable, None where neither is installed."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)


@contextmanager
def chromium(patience: float) -> Iterator[Page]:
    """A page of a headless Chromium; what is waited for longer than `patience` seconds raises playwright's TimeoutError."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find_chromium(), args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        page = browser.new_page(viewport=WINDOW)
        page.set_default_timeout(1000 * patience)
        yield page
        browser.close()


def run_notebook(page: Page, lab: str, name: str) -> None:
    """Open a notebook in a fresh workspace and run all its cells. Raises: RuntimeError with a cell's error."""
    page.goto(f"{lab}/lab/workspaces/{name[:2]}/tree/{name}?token={TOKEN}&reset")
    found = f"[...(window.jupyterapp?.shell?.widgets('main') ?? [])].find(w => w.context?.path === '{name}')"
    page.wait_for_function(f"!!(window.notebook = {found}) && {_KERNEL}")
    page.evaluate("jupyterapp.shell.activateById(notebook.id)")
    page.evaluate("void jupyterapp.commands.execute('notebook:run-all-cells')")
    failed = f"{_CELLS}.flatMap(c => c.outputs).find(o => o.output_type === 'error')"
    page.wait_for_function(f"{failed} || ({_KERNEL} && {_CELLS}.every(c => c.execution_count || !c.source.length))")
    error = page.evaluate(failed)
    if error:
        raise RuntimeError(f"{name}: a cell failed: {error['ename']}: {error['evalue']}")


def explorer_of(page: Page) -> Locator:
    """The first explorer of the page, at the top of the window, its pictures drawn."""
    explorer = page.locator(".sspcore-explorer[data-version]").first
    explorer.wait_for()
    scroll_to(explorer)
    return explorer


def scroll_to(explorer: Locator) -> None:
    """Bring an explorer to the top of the window."""
    explorer.evaluate("e => e.closest('.jp-Cell').scrollIntoView({block: 'start'})")
    explorer.page.wait_for_timeout(500)


def slider(page: Page, name: str) -> Locator:
    """The first slider of that description."""
    label = page.locator(".widget-label", has_text=re.compile(f"^{re.escape(name)}$"))
    return page.locator(".widget-slider", has=label).first


def focus_slider(page: Page, name: str) -> None:
    """Give the keyboard to the slider of that description."""
    slider(page, name).locator(".noUi-handle").focus()


def response(page: Page, explorer: Locator, key: str) -> float:
    """Milliseconds from a key on the focused slider to the new pictures on the screen."""
    explorer.evaluate(_SHOWN)
    page.keyboard.press(key)
    page.wait_for_function("window.shown.then(() => true)")
    return float(page.evaluate("window.shown"))


@contextmanager
def jupyterlab(folder: Path, profile: str, patience: float) -> Iterator[str]:
    """JupyterLab on a copy of the notebooks in `folder`; yields its address. Settings of the user's are left alone."""
    notebooks, settings = folder / "notebooks", folder / "settings" / "@jupyterlab"
    shutil.copytree(ROOT / "notebooks", notebooks)
    (settings / "notebook-extension").mkdir(parents=True)
    # every cell stays in the page, seen or not
    (settings / "notebook-extension" / "tracker.jupyterlab-settings").write_text('{"windowingMode": "none"}')
    (settings / "apputils-extension").mkdir()
    (settings / "apputils-extension" / "notification.jupyterlab-settings").write_text('{"fetchNews": "false"}')
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])), "SSPCORE_PROFILE": profile,
        "JUPYTERLAB_SETTINGS_DIR": str(settings.parent), "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
        "JUPYTER_CONFIG_DIR": str(folder / "config"), "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "IPYTHONDIR": str(folder / "ipython"),
    }
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--expose-app-in-browser", "--port=0",
        f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={notebooks}", "--ServerApp.ip=127.0.0.1",
    ]
    with open(folder / "lab.log", "w", encoding="utf-8") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=notebooks)
        try:
            end, files = time.monotonic() + patience, []
            while not files:
                if time.monotonic() > end:
                    raise TimeoutError(f"JupyterLab does not start within {patience:.0f} s; its log: {folder / 'lab.log'}")
                time.sleep(0.2)
                files = list((folder / "runtime").glob("jpserver-*.json"))
            yield json.loads(files[0].read_text())["url"].rstrip("/")
        finally:
            process.terminate()
            process.wait(timeout=60)
