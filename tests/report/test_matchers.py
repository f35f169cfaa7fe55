"""The table of matchers: one row each, LightGlue only where it is installed."""

from __future__ import annotations

import numpy as np
import pytest

from sspcore.motion.fitting import Registration
from sspcore.report import motion


@pytest.mark.parametrize("installed", [False, True])
def test_every_matcher_has_a_row_with_what_it_found(monkeypatch, installed):
    monkeypatch.setattr(motion.lightglue, "is_installed", lambda: installed)
    found = {name: Registration(np.eye(3), ok=name == "orb") for name in ("lk", "sift", "akaze", "orb", "lightglue")}
    monkeypatch.setattr(motion, "build_registrator", lambda name: lambda before, after: found[name])
    rows = motion.compare_matchers(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4, 3), np.uint8))
    assert list(rows) == ["lk", "sift", "akaze", "orb"] + ["lightglue"] * installed
    assert [row["ok"] for row in rows.values()] == [False, False, False, True] + [False] * installed
    assert all(row["inliers"] == row["matches"] == 0 and row["time (ms)"] >= 0 for row in rows.values())
