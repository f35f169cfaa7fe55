"""Scores in notebooks: percent, plain headings, gains in points."""

from __future__ import annotations

from sspcore.report.scores import score_rows

ROWS = [
    {"system": "Base", "miou": 0.5, "miou_std": 0.01, "tc": None, "training_steps": 10},
    {"system": "SSP", "miou": 0.625, "tc": 0.75, "training_steps": 20},
]


def test_scores_are_in_percent_and_other_values_as_they_are():
    shown = score_rows(ROWS, ("miou", "tc", "training_steps"))
    assert shown["Base"] == {"mIoU (%)": 50.0, "mIoU (%) ±": 1.0, "TC (%)": None, "training steps": 10}
    assert shown["SSP"] == {"mIoU (%)": 62.5, "TC (%)": 75.0, "training steps": 20}
    assert list(score_rows([ROWS[1] | {"dataset": "uavid"}], ("miou",), by=("system", "dataset"))) == ["SSP, UAVid"]
