"""Times of whole runs: an entry a choice of profile, data sets and systems; only runs from nothing are timed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sspcore.core.errors import ArtefactError, SspError
from sspcore.study.run_times import timed

SMOKE = {"profile": "smoke", "datasets": ["uavid"], "systems": ["Base"]}


def time_a_run(file: Path | None, artefacts: Path, entry: dict, **seconds: float) -> None:
    kept: dict[str, float] = {}
    with timed(file, artefacts, entry, kept):
        kept.update(seconds)
        sum(range(200_000))


def test_entries_are_told_apart_by_what_was_run_and_replaced_by_a_later_run(tmp_path):
    file, nothing = tmp_path / "times.json", tmp_path / "data"
    time_a_run(file, nothing, SMOKE, a=3.0)
    time_a_run(file, nothing, SMOKE | {"systems": ["Base", "SSP"]}, b=5.0)
    time_a_run(file, nothing, SMOKE | {"provenance": {"commit": "later"}}, a=4.0)
    entries = {tuple(entry["systems"]): entry for entry in json.loads(file.read_text())}
    assert len(entries) == 2 == len(json.loads(file.read_text()))
    assert entries[("Base",)]["notebooks"] == {"a": 4.0} and entries[("Base",)]["provenance"] == {"commit": "later"}
    assert entries[("Base", "SSP")]["notebooks"] == {"b": 5.0}
    for entry in entries.values():
        assert 0 <= entry["minutes"] < 1 and entry["cpu_minutes"] >= 0 and 20 < entry["peak_mib"] < 1_000_000


def test_a_run_that_goes_on_with_what_is_there_is_not_timed(tmp_path):
    artefacts = tmp_path / "data"
    artefacts.mkdir()
    with pytest.raises(SspError, match="data is there already.*fresh clone"):
        time_a_run(tmp_path / "times.json", artefacts, SMOKE)
    time_a_run(None, artefacts, SMOKE)
    assert not (tmp_path / "times.json").exists()


def test_a_failed_run_leaves_the_file_as_it_was(tmp_path):
    file = tmp_path / "times.json"
    time_a_run(file, tmp_path / "data", SMOKE)
    before = file.read_bytes()
    with pytest.raises(KeyError), timed(file, tmp_path / "data", SMOKE, {}):
        raise KeyError
    assert file.read_bytes() == before
    file.write_text("[")
    with pytest.raises(ArtefactError, match="not readable as JSON"):
        time_a_run(file, tmp_path / "data", SMOKE)
