"""The README's quick start in Python, run as printed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_the_quick_start_runs_as_printed_and_is_short(tmp_path):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    text = text.partition("**In Python.**")[2].partition("The study, stage by stage")[0]
    blocks = re.findall(r"```python\n(.*?)```", text, re.S)
    assert len(blocks) == 2 and all(len(block.splitlines()) <= 12 for block in blocks)
    (tmp_path / "data").symlink_to(ROOT / "data")
    ran = subprocess.run(
        [sys.executable, "-c", "".join(blocks)], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    lines = ran.stdout.splitlines()
    assert len(lines) == 48 and "road" in lines[0].split() and (tmp_path / "overlay.mp4").stat().st_size > 10_000
    assert {path.name for path in (tmp_path / "my-ssp").iterdir()} == {"model.safetensors", "config.json", "README.md"}
