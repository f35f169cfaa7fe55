"""Store the outputs that `pytest --nbval` compares: those of the cells tagged nbval-check-output.

    python tests/notebooks/store_outputs.py [NOTEBOOK ...]        (default: every numbered notebook)

Runs each notebook under the smoke profile and writes output and execution count of its tagged cells into it; all other
cells stay as they are. To be run after a change that is meant to change such an output; look at the difference in git.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from sspcore.core.notebooks import COMPARED, tags

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"


def tagged(notebook: nbformat.NotebookNode) -> list[int]:
    """Positions of the cells whose outputs are compared."""
    return [k for k, cell in enumerate(notebook.cells) if COMPARED in tags(cell)]


def store(path: Path) -> int:
    """Run a notebook and keep what its tagged cells show; returns their number."""
    notebook, executed = (nbformat.read(path, as_version=4) for _ in range(2))
    where = {"metadata": {"path": str(path.parent)}}
    NotebookClient(executed, timeout=600, kernel_name="python3", resources=where, record_timing=False).execute()
    for k in tagged(notebook):
        notebook.cells[k].outputs = executed.cells[k].outputs
        notebook.cells[k].execution_count = executed.cells[k].execution_count
    nbformat.write(notebook, path)
    return len(tagged(notebook))


if __name__ == "__main__":
    os.environ |= {"SSPCORE_PROFILE": "smoke", "SSPCORE_PROGRESS": "off", "MPLBACKEND": "Agg"}
    for path in [Path(name) for name in sys.argv[1:]] or sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb")):
        print(f"{path.name}: {store(path)} outputs stored", flush=True)
