"""What is said of a long stream follows from its windows; the picture has a panel for all that is known."""

from __future__ import annotations

import numpy as np
import pytest

from sspcore.report.long_stream import committed, condition_table, drift, findings, missing, picture, system_table
from sspcore.study.long_footage import CUTS, UNDISTURBED

WINDOWS = 10
ORIGIN = {"data": "rendered data", "profile": "smoke", "seed": 0, "commit": "abc"}
SYSTEMS = {"Base": 0.0, "SSP": -0.02, "Constant alpha 0.5": 0.01}  # and how much mIoU each gains in a window


def system(name, labelled):
    noise = np.random.default_rng(len(name)).normal(0, 0.002, WINDOWS)
    windows = {"tc": [0.8] * WINDOWS, "flicker": [0.1] * WINDOWS, "changed": [0.2] * WINDOWS, "alpha": [None] * WINDOWS}
    if name != "Base":
        windows |= {"tc": [0.9] * WINDOWS, "alpha": [0.4] * WINDOWS}
    if labelled:
        gains = SYSTEMS[name] * np.arange(WINDOWS) + (noise if name != "Base" else 0)
        windows |= {"miou": (0.5 + gains).tolist(), "miou_moving": [None] * WINDOWS, "lag": [1.5] * WINDOWS}
    means = {key: float(np.mean(values)) if values[0] is not None else None for key, values in windows.items()}
    return {"overall": means, "windows": windows}


def stream(labelled=True):
    counts = {"frames": 1000, "jumps": 0, "cuts_found": 0, "cuts_elsewhere": 1, "unregistered": 7}
    found = counts | {
        "first_frames": list(range(0, 1000, 100)), "systems": {name: system(name, labelled) for name in SYSTEMS}
    }
    return {"data": "own video", "frames": 1000, "window": 100, "conditions": {
        UNDISTURBED: found, CUTS: found | {"jumps": 3, "cuts_found": 2},
    }}


def test_a_drift_is_the_slope_of_the_gain_and_is_named_by_its_interval():
    assert drift(stream(), "SSP").slope == pytest.approx(-20, abs=2)  # -2 points in each of ten windows of 100 frames
    assert drift(stream(), "Constant alpha 0.5").low > 5
    falls, rises = findings(stream())
    assert falls.startswith("SSP: ") and "points, with its 95 % interval: −" in falls and falls.endswith("; it falls.")
    assert rises.endswith("; it rises.") and drift(stream(), "Base") is None
    flat = stream()
    for name, value in (("Base", 0.5), ("SSP", 0.51)):
        flat["conditions"][UNDISTURBED]["systems"][name]["windows"]["miou"] = [value, 0.5, 0.5, value, 0.5] * 2
    assert findings(flat)[0].endswith("; no drift is seen.")


def test_tables_are_in_percent_and_gains_in_points():
    rows = system_table(stream())
    assert rows["Base"]["mIoU (%)"] == 50 and rows["SSP"]["TC (%)"] == 90 and rows["SSP"]["lag (frames)"] == 1.5
    assert rows["SSP"]["mean alpha"] == 0.4 and rows["Base"]["mean alpha"] is None
    plain, cut = condition_table(stream()).values()
    assert plain["cuts found"] is None and cut["cuts found"] == "2 of 3" and cut["registrations failed"] == 7
    assert plain["SSP: mIoU, TC"].split(", ")[1] == "+10.00"


@pytest.mark.parametrize("labelled", [True, False])
def test_the_picture_shows_what_is_known(labelled):
    made = picture(stream(labelled), "Flight", ORIGIN)
    titles = [axes.get_ylabel() for axes in made.axes if axes.get_visible()]
    assert titles == (["mIoU above Base (points)"] if labelled else []) + [
        "TC above Base (points)", "labels changed (%)", "mean alpha",
    ] + (["lag (frames)", "mIoU above Base (points)"] if labelled else [])
    tc = made.axes[1 if labelled else 0].lines[1]
    assert tc.get_ydata() == pytest.approx([10] * WINDOWS)
    assert made.texts[-1].get_text().startswith("Own video; profile smoke")
    assert {text.get_text() for text in made.legends[0].get_texts()} == set(SYSTEMS)


def test_unlabelled_footage_has_no_accuracy():
    assert findings(stream(labelled=False)) == [] and "mIoU (%)" not in system_table(stream(labelled=False))["SSP"]
    assert condition_table(stream(labelled=False))[CUTS]["SSP: TC"] == "+10.00"


def test_without_a_file_the_command_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr("sspcore.report.long_stream.REPOSITORY", tmp_path)
    assert committed() is None and "benchmarks/long_stream.py" in missing()
