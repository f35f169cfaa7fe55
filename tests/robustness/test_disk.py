"""A disk that is full, and one that cannot be written: one line that says so, and nothing half-written."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from sspcore.cli.main import main
from sspcore.core.files import atomic_file
from sspcore.core.paths import Workspace
from sspcore.core.store import stage
from sspcore.study import data as study_data

MEGABYTE = 2**20


@contextmanager
def disk(folder: Path, options: str) -> Iterator[Path]:
    """A small disk of its own in memory; the test is skipped where none may be mounted."""
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"no tmpfs can be mounted here ({mounted.stderr.strip() or 'not allowed'})")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def small(tmp_path):
    with disk(tmp_path / "small", "size=1m") as folder:
        yield folder


def everything(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_full_disk_leaves_nothing_half_written(small):
    def build(folder: Path) -> None:
        (folder / "weights.bin").write_bytes(b"w" * 2 * MEGABYTE)

    with pytest.raises(OSError, match="No space left") as caught:
        stage("training", small / "run", "k", build)
    assert caught.value.errno == errno.ENOSPC and everything(small) == []
    with pytest.raises(OSError, match="No space left") as caught, atomic_file(small / "a.bin") as temporary:
        temporary.write_bytes(b"a" * 2 * MEGABYTE)
    assert caught.value.errno == errno.ENOSPC and everything(small) == []
    stage("training", small / "run", "k", lambda folder: (folder / "weights.bin").write_bytes(b"w" * 1000))
    assert (small / "run" / "weights.bin").stat().st_size == 1000


@pytest.mark.parametrize("options, reason", [("size=1m,ro", "Read-only file system"), ("size=8k", "No space left on device")])
def test_the_run_says_in_one_line_that_it_cannot_write(tmp_path, monkeypatch, capsys, options, reason):
    with disk(tmp_path / "disk", options) as folder:
        if "ro" not in options:
            with (folder / "filler").open("wb") as file, suppress(OSError):  # until it is full
                while True:
                    os.write(file.fileno(), b"x" * 4096)
        monkeypatch.setattr(study_data, "Workspace", lambda name: Workspace(name, folder / "data"))
        assert main(["reproduce", "--profile", "smoke"]) == 1
    error = capsys.readouterr().err.strip()
    assert reason in error and "\n" not in error and "check disk space" in error
