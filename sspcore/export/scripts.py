"""The Python files of a bundle: the scripts of `sspcore.export.device`, and the library's own registration.

They are the library's modules; only their imports are changed, so that they lie side by side where nothing is installed.
"""

from __future__ import annotations

import re
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
# need NumPy and OpenCV alone, see tests/export/test_camera.py
MOTION = ("__init__", "cuts", "fitting", "lucas_kanade", "ransac")
_IMPORT = re.compile(r"(?m)^( *from )sspcore\.(?:export\.device\.)?")


def write_scripts(folder: Path) -> None:
    """Copy them into a bundle's folder: scripts beside each other, registration in `motion`."""
    (folder / "motion").mkdir()
    for script in (PACKAGE / "export" / "device").glob("[a-z]*.py"):
        _copy(script, folder / script.name)
    for name in MOTION:
        _copy(PACKAGE / "motion" / f"{name}.py", folder / "motion" / f"{name}.py")


def _copy(source: Path, target: Path) -> None:
    target.write_text(_IMPORT.sub(r"\1", source.read_text(encoding="utf-8")), encoding="utf-8")
