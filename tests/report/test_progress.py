"""The table of a run that goes on: what is scored so far, what is new in one line, and nothing made."""

from __future__ import annotations

import time

import pytest

from helpers.tables import row
from sspcore.core.files import read_json, write_json
from sspcore.report.progress import write_progress_results
from sspcore.study import Study, places
from sspcore.study.keys import Keys

SYSTEMS = ["Base", "SSP"]


@pytest.fixture
def studies(tmp_path, monkeypatch) -> list[Study]:
    monkeypatch.setattr(Keys, "clips", lambda self, dataset: f"clips of {dataset}")
    return [Study.open("smoke", seed, root=tmp_path, read_only=True) for seed in (0, 1)]


def score(study: Study, name: str, miou: float, tc: float, dataset: str = "uavid", key: str | None = None) -> None:
    place = places.scores(study, name, dataset)
    entry = row(name, "control" if "alpha" in name else "image", miou, tc) | {"dataset": dataset}
    del entry["gmacs"], entry["flow_counted"]  # as scoring leaves it
    write_json(place.folder / "row.json", entry)
    write_json(place.folder / "key.json", {"key": key or place.key})


def test_each_scored_system_is_told_once_and_stands_in_the_table(studies, tmp_path):
    first, figures = studies[:1], tmp_path / "figures"

    def write(datasets=("uavid", "ruralscapes")) -> str:
        return write_progress_results(first, datasets, SYSTEMS, figures)

    assert write() == "" and not figures.exists()
    score(first[0], "Base", 0.773, 0.812)
    assert write() == "UAVid: Base mIoU 77.3, TC 81.2"
    table = (figures / "tables" / "results.md").read_text()
    assert "**This run is not finished.** Systems so far: UAVid 1 of 2, RuralScapes 0 of 2." in table
    assert "| Base |" in table and "| SSP |" not in table and "RuralScapes (" not in table
    stamp = (figures / "tables" / "results.json").stat().st_mtime_ns
    assert write() == "" and (figures / "tables" / "results.json").stat().st_mtime_ns == stamp
    score(first[0], "SSP", 0.778, 0.923)
    score(first[0], "SSP", 0.60, None, "ruralscapes")
    assert write() == "UAVid: SSP mIoU 77.8, TC 92.3 (Base 77.3, 81.2); RuralScapes: SSP mIoU 60.0, TC –"
    assert "Systems so far: UAVid 2 of 2, RuralScapes 1 of 2." in (figures / "tables" / "results.html").read_text()
    results = read_json(figures / "tables" / "results.json")
    assert results["provenance"]["seed"] == 0 and "so_far" in results


def test_a_row_under_another_key_is_not_in_the_table(studies, tmp_path):
    score(studies[0], "Base", 0.7, 0.8)
    score(studies[0], "SSP", 0.7, 0.8, key="former")
    assert write_progress_results(studies[:1], ["uavid"], SYSTEMS, tmp_path) == "UAVid: Base mIoU 70.0, TC 80.0"
    assert "| SSP |" not in (tmp_path / "tables" / "results.md").read_text()


def test_a_final_table_of_the_same_rows_is_left_alone(studies, tmp_path):
    score(studies[0], "Base", 0.7, 0.8)
    final = {"provenance": {"seed": 0}, "rows": [row("Base", "image", 0.7, 0.8)]}
    write_json(tmp_path / "tables" / "results.json", final)
    assert write_progress_results(studies[:1], ["uavid"], SYSTEMS, tmp_path) == ""
    assert read_json(tmp_path / "tables" / "results.json") == final
    (tmp_path / "tables" / "results.json").write_text("[")
    assert write_progress_results(studies[:1], ["uavid"], SYSTEMS, tmp_path).startswith("UAVid: Base")


def test_seeds_are_averaged_as_they_come(studies, tmp_path):
    score(studies[0], "Base", 0.70, 0.80)
    assert write_progress_results(studies, ["uavid"], SYSTEMS, tmp_path) == "UAVid, seed 0: Base mIoU 70.0, TC 80.0"
    assert "UAVid 0 of 2" in (tmp_path / "tables" / "results.md").read_text()
    score(studies[1], "Base", 0.72, 0.80)
    assert write_progress_results(studies, ["uavid"], SYSTEMS, tmp_path) == "UAVid, seed 1: Base mIoU 72.0, TC 80.0"
    text = (tmp_path / "tables" / "results.md").read_text()
    assert "| 71.0 ± 1.4 |" in text and "UAVid 1 of 2" in text
    assert write_progress_results(studies, ["uavid"], SYSTEMS, tmp_path) == ""


def test_many_rows_at_once_are_counted_and_it_takes_a_moment(tmp_path, monkeypatch):
    monkeypatch.setattr(Keys, "clips", lambda self, dataset: f"clips of {dataset}")
    study = Study.open("demo", root=tmp_path, read_only=True)
    systems = list(study.profile.systems)
    for dataset in ("uavid", "ruralscapes"):
        for name in [*systems, *study.controls(systems)]:
            score(study, name, 0.7, 0.8, dataset)
    news = write_progress_results([study], ["uavid", "ruralscapes"], systems, tmp_path)
    assert news == "UAVid: 20 systems and controls are scored; RuralScapes: 20 systems and controls are scored"
    score(study, "SSP", 0.71, 0.8)
    began = time.process_time()
    assert write_progress_results([study], ["uavid", "ruralscapes"], systems, tmp_path).startswith("UAVid: SSP mIoU 71.0")
    assert time.process_time() - began < 0.3
