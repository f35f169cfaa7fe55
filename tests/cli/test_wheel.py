"""sspcore as a wheel: complete, run from any folder, caches in the user's cache folder, what needs a checkout is said."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from helpers.media import SIZE, panning_frames, write_rgb

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "sspcore", "data/sample")


@dataclass
class Installed:
    """The unpacked wheel on PYTHONPATH, in a folder of a user who has no checkout."""

    site: Path
    home: Path

    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {
            "PYTHONPATH": str(self.site), "XDG_CACHE_HOME": str(self.home / "cache"), "HOME": str(self.home),
            "PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": "1",
        }
        command = [sys.executable, "-m", "sspcore", *map(str, arguments)]
        return subprocess.run(command, cwd=self.home, env=environment, capture_output=True, text=True, timeout=300, check=False)


def files(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Built from a copy, since a build writes into its sources."""
    root = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        target = root / "source" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, target)
    build = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    subprocess.run(
        [sys.executable, "-m", "pip", *build, "--wheel-dir", str(root), str(root / "source")], check=True, timeout=300,
        capture_output=True,
    )
    (wheel,) = root.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(root / "site")
    (root / "home").mkdir()
    return Installed(root / "site", root / "home")


def test_it_holds_every_file_of_the_library_the_sample_and_the_command(installed: Installed) -> None:
    wanted = {Path("sspcore") / path for path in files(ROOT / "sspcore") if "__pycache__" not in path.parts}
    wanted |= {Path("sspcore/_sample") / path for path in files(ROOT / "data" / "sample")}
    found = files(installed.site)
    assert {path for path in found if path.parts[0] == "sspcore"} == wanted
    (entry,) = (path for path in found if path.name == "entry_points.txt")
    assert "sspcore = sspcore.cli.main:main" in (installed.site / entry).read_text()


def test_what_needs_a_checkout_says_so_in_one_line(installed: Installed) -> None:
    done = installed.run("reproduce", "--profile", "smoke")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: sspcore reproduce needs a checkout") and done.stderr.count("\n") == 1


def test_label_maps_are_scored_and_flow_is_kept_in_the_users_cache(installed: Installed) -> None:
    shipped = files(installed.site)
    for k, frame in enumerate(panning_frames(3, 0)):
        write_rgb(installed.home / "frames" / f"{k}.png", frame)
        write_rgb(installed.home / "maps" / f"{k}.png", np.zeros(SIZE, np.uint8))
    folders = ("--predictions", "maps", "--frames", "frames")
    done = installed.run("evaluate", *folders, "--classes", 4, "--flow", "dis-fast", "--json", "scores.json")
    assert done.returncode == 0, done.stderr
    assert json.loads((installed.home / "scores.json").read_text())["commit"] == "unknown"  # not that of a folder around it
    assert "1 clips, 3 frames" in done.stdout and "estimated, 0 from the cache" in done.stdout
    assert list((installed.home / "cache").rglob("*.npy")) and files(installed.site) == shipped


def test_the_packaged_checkpoint_segments_and_is_exported(installed: Installed) -> None:
    shipped = files(installed.site)
    frames = next((installed.site / "sspcore" / "_sample" / "clips").rglob("frames"))
    done = installed.run("stream", frames, "--out", "overlay.mp4", "--masks", "masks", "--max-frames", 2)
    assert done.returncode == 0, done.stderr
    assert "no --checkpoint: SSP as packaged is used" in done.stderr and '"frames": 2' in done.stdout
    assert (installed.home / "overlay.mp4").stat().st_size > 1000 and len(list((installed.home / "masks").glob("*.png"))) == 2
    assert (installed.site / "sspcore" / "inference" / "page.html").is_file()  # of --view
    done = installed.run("export", "--out", "bundle", "--size", "64x96")
    assert done.returncode == 0, done.stderr
    assert (installed.home / "bundle" / "step.onnx").is_file() and files(installed.site) == shipped
