"""JupyterLab in headless Chromium, driven over Chromium's own debugging protocol: what the browser test and benchmark share.

No driver to install: a websocket and a few of the protocol's commands are enough.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import websocket

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "browser-test"
WINDOW = (1400, 2000)  # tall enough for a whole explorer: JupyterLab scrolls inside the page
T = TypeVar("T")
_KERNEL = "notebook.context.sessionContext?.session?.kernel?.status"


def find_chromium() -> str | None:
    """Chromium's or Chrome's executable, None where neither is installed."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)


def wait_for(what: str, ask: Callable[[], T | None], seconds: float) -> T:
    """The first answer of `ask` that is neither None nor False. Raises: TimeoutError naming what was waited for."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answer = ask()
        if answer:
            return answer
        time.sleep(0.2)
    raise TimeoutError(f"{what}: not within {seconds:.0f} s")


class Page:
    """One tab of a running Chromium."""

    def __init__(self, address: str, patience: float) -> None:
        # Chromium refuses a web page's origin; a script has none
        self._socket = websocket.create_connection(address, timeout=patience, suppress_origin=True)
        self._number, self.patience = 0, patience

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol and its result; events that come in between are dropped."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._socket.recv())
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]

    def run(self, script: str) -> Any:
        """Value of a JavaScript expression, awaited if it is a promise."""
        result = self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in result:
            details = result["exceptionDetails"]
            raise RuntimeError(f"{script[:80]}: {details.get('exception', {}).get('description', details['text'])}")
        return result["result"].get("value")

    def wait(self, what: str, script: str) -> Any:
        """The first true value of an expression."""
        return wait_for(what, lambda: self.run(script), self.patience)

    def key(self, name: str) -> None:
        """Press and release a key."""
        for kind in ("keyDown", "keyUp"):
            code = {"ArrowLeft": 37, "ArrowRight": 39}[name]
            self.send("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=code)

    def click(self, x: float, y: float) -> None:
        """Click with the left button."""
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def screenshot(self, path: Path) -> None:
        """The window as PNG."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"]))

    # ------------------------------------------------------------ JupyterLab

    def open_notebook(self, lab: str, name: str) -> None:
        """Open a notebook in a fresh workspace and wait for its kernel."""
        self.send("Page.navigate", url=f"{lab}/lab/workspaces/{name[:2]}/tree/{name}?token={TOKEN}&reset")
        found = f"[...(window.jupyterapp?.shell?.widgets('main') ?? [])].find(w => w.context?.path === '{name}')"
        self.wait(f"{name} opens", f"!!(window.notebook = {found})")
        self.wait("the kernel starts", f"{_KERNEL} === 'idle'")

    def run_all(self) -> None:
        """Run all cells of the open notebook and wait for the end. Raises: RuntimeError with a cell's error."""
        self.run("jupyterapp.shell.activateById(notebook.id)")
        self.run("void jupyterapp.commands.execute('notebook:run-all-cells')")
        cells = "[...notebook.content.model.cells].filter(c => c.type === 'code').map(c => c.toJSON())"
        failed = f"{cells}.flatMap(c => c.outputs).filter(o => o.output_type === 'error').map(o => o.ename + ': ' + o.evalue)"

        def done() -> bool:
            errors = self.run(failed)
            if errors:
                raise RuntimeError(f"a cell failed: {errors[0]}")
            return bool(self.run(f"{_KERNEL} === 'idle' && {cells}.every(c => c.execution_count || !c.source.length)"))

        wait_for("all cells run", done, self.patience)

    def explorer(self, number: int = 0) -> str:
        """JavaScript that finds the explorer of that number; waits until its pictures are drawn."""
        found = f"document.querySelectorAll('.sspcore-explorer[data-version]')[{number}]"
        self.wait("the explorer's pictures", f"!!{found}")
        self.run(f"{found}.closest('.jp-Cell').scrollIntoView({{block: 'start'}})")
        time.sleep(0.5)
        return found

    def focus_slider(self, name: str) -> None:
        """Give the keyboard to the slider of that description."""
        self.run(
            "(() => { const label = [...document.querySelectorAll('.widget-slider .widget-label')]"
            f".find(l => l.textContent === '{name}'); label.parentElement.querySelector('.noUi-handle').focus(); }})()"
        )

    def response(self, explorer: str, key: str) -> float:
        """Milliseconds from a key on the focused slider to the new pictures on the screen."""
        self.run(
            "void (window.shown = new Promise((resolve) => { let pressed;"
            " addEventListener('keydown', () => { pressed = performance.now(); }, {capture: true, once: true});"
            " const watch = new MutationObserver(() => requestAnimationFrame(() => {"
            "   watch.disconnect(); resolve(performance.now() - pressed); }));"
            f" watch.observe({explorer}, {{attributes: true, attributeFilter: ['data-version']}}); }}))"
        )
        self.key(key)
        return float(self.run(
            f"Promise.race([window.shown, new Promise(r => setTimeout(() => r(NaN), {1000 * self.patience:.0f}))])"
        ))


@contextmanager
def chromium(folder: Path, patience: float) -> Iterator[Page]:
    """A headless Chromium with one tab; its profile lies in `folder`."""
    command = [
        find_chromium(), "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
        "--remote-debugging-port=0", f"--user-data-dir={folder}", f"--window-size={WINDOW[0]},{WINDOW[1]}", "about:blank",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        file = folder / "DevToolsActivePort"
        wait_for("Chromium starts", lambda: file.is_file() and len(file.read_text().split()) > 1, patience)
        port = int(file.read_text().split()[0])
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=patience) as answer:
            tab = next(entry for entry in json.load(answer) if entry["type"] == "page")
        page = Page(tab["webSocketDebuggerUrl"], patience)
        page.send("Emulation.setDeviceMetricsOverride", width=WINDOW[0], height=WINDOW[1], deviceScaleFactor=1, mobile=False)
        page.send("Emulation.setFocusEmulationEnabled", enabled=True)  # nobody looks: the page must not know
        yield page
    finally:
        process.terminate()
        process.wait(timeout=30)


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
            def address() -> str | None:
                files = list((folder / "runtime").glob("jpserver-*.json"))
                return json.loads(files[0].read_text())["url"].rstrip("/") if files else None

            url = wait_for(f"JupyterLab starts (log: {folder / 'lab.log'})", address, patience)
            yield url
        finally:
            process.terminate()
            process.wait(timeout=60)
