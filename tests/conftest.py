"""Shared fixtures: small hand-made releases in the published layouts, without the renderer."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers import shown
from helpers.media import SIZE, half_and_half, panning_frames, write_rgb, write_video
from sspcore.core.provenance import RUN_BEGAN
from sspcore.data.datasets import RURALSCAPES, UAVID

# Long files that share nothing begin first, so that no process waits for the other at the end.
FIRST = ("test_distributed.py", "test_export.py", "test_train.py")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """For `-n 2 --dist loadgroup`: a file's tests share fixtures and stay in one process.

    So do all notebooks, in order, since each builds on the artefacts of those before it, and what else works in data/smoke.
    """
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group("notebooks" if item.path.suffix == ".ipynb" else str(item.path)))
    items.sort(key=lambda item: FIRST.index(item.path.name) if item.path.name in FIRST else len(FIRST))
    items.sort(key=lambda item: item.path.suffix != ".ipynb")


def pytest_configure(config: pytest.Config) -> None:
    """Keep what notebooks show for the tests of tests/notebooks; hooks of this file are not called for other folders."""
    config.pluginmanager.register(shown)


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """Tiny tensors: threads cost more than they bring, and a fixed number keeps sums in order.

    For the session, so that fixtures of a module count with as many threads as its tests.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _no_run_goes_on():
    """A run says in the environment when it began, for its workers; here it would count for the studies of later tests."""
    yield
    os.environ.pop(RUN_BEGAN, None)


@pytest.fixture(autouse=True)
def _log_as_found():
    """A command sets up logging for its own process; here its handlers would write to a stream that is closed by then."""
    root, ours = logging.getLogger(), logging.getLogger("sspcore")
    handlers, level, propagate = {id(h) for h in (*root.handlers, *ours.handlers)}, ours.level, ours.propagate
    yield
    for logger in (root, ours):
        for handler in [h for h in logger.handlers if id(h) not in handlers]:
            logger.removeHandler(handler)
    ours.setLevel(level)
    ours.propagate = propagate


@pytest.fixture
def uavid_release(tmp_path: Path) -> Path:
    """seq1, seq2 (train) and seq16 (val), 9 frames each, labels at 0, 4, 8, VDD layer for seq1."""
    root = tmp_path / "uavid"
    for seed, (split, name) in enumerate([("train", "seq1"), ("train", "seq2"), ("val", "seq16")]):
        folder = root / f"uavid_{split}" / name
        write_video(folder / "images.mp4", panning_frames(9, seed))
        for k in (0, 4, 8):
            write_rgb(folder / "Labels" / f"{k:06d}.png", half_and_half(UAVID.labels["building"], UAVID.labels["clutter"]))
            if name == "seq1":
                vdd = np.zeros(SIZE, np.uint8)
                vdd[: SIZE[0] // 2] = 5
                vdd[SIZE[0] // 2:] = 6
                write_rgb(root / "UAVid7" / f"uavid_{split}" / name / "VDD_Labels" / f"{k:06d}.png", vdd)
    return root


@pytest.fixture
def ruralscapes_release(tmp_path: Path) -> Path:
    """DJI_0043 (train) and DJI_0051 (val), 21 frames each, labels at 0, 10, 20."""
    root = tmp_path / "ruralscapes"
    for seed, name in enumerate(("DJI_0043", "DJI_0051")):
        write_video(root / "videos" / f"{name}.mp4", panning_frames(21, seed))
        for k in (0, 10, 20):
            label = half_and_half(RURALSCAPES.labels["forest"], RURALSCAPES.labels["road"])
            write_rgb(root / "labels" / "manual_labels" / name / f"segfull_{name}_{k:06d}.png", label)
    return root
