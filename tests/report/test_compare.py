"""A run's rows against the committed ones: every digit of every entry, and what is said where some differ."""

from __future__ import annotations

import pytest

from helpers.tables import row
from sspcore.cli.main import main
from sspcore.core.errors import SspError
from sspcore.core.files import read_json, write_json
from sspcore.report import compare as module
from sspcore.report.compare import TABLE, after_run, compare, details, summary, tables_of
from sspcore.report.spread import over_seeds
from sspcore.study.profiles import load_profile

VERSIONS = {"python": "3.11.7", "numpy": "2.4.6"}
RENDERED = "rendered data, not the real data set"


def results(seed: int, shift: float = 0.0) -> dict:
    """A finished table of one seed: Base and SSP on two data sets."""
    origin = {
        "profile": "demo", "seed": seed, "commit": "abc", "machine": "x86_64 (AVX2), 2 cores", "versions": VERSIONS,
        "data": RENDERED,
    }
    rows = [
        row(name, "image", miou + shift, tc) | {"dataset": dataset}
        for dataset in ("uavid", "ruralscapes") for name, miou, tc in (("Base", 0.70, 0.8), ("SSP", 0.71, 0.9))
    ]
    return {"provenance": origin, "titles": {"uavid": "UAVid", "ruralscapes": "RuralScapes"}, "rows": rows}


@pytest.fixture
def committed() -> dict:
    return over_seeds([results(0), results(1, 0.02)])


def differing(found: dict) -> list[tuple]:
    return [(each["dataset"], each["seed"], each["system"], each["differ"]) for each in found["rows"] if each["differ"]]


def test_a_run_of_one_seed_is_held_against_that_seed_of_the_committed_table(committed):
    found = compare(results(1, 0.02), committed)
    assert (len(found["rows"]), found["identical"], found["missing"], found["only_here"]) == (4, 4, 0, 0)
    assert summary(found) == "4 of 4 rows are the committed ones in every digit (seed 1, committed run abc)"
    assert details(found) == ""
    assert compare(results(1), committed)["identical"] == 0
    assert len(compare(committed, committed)["rows"]) == 8


@pytest.mark.parametrize("change", [
    {"miou": 0.71 + 1e-16}, {"per_class_tc": {"road": 0.91}}, {"training_steps": 8}, {"tc_reference": 0.5}, {"stand_in": None},
])
def test_the_last_digit_of_any_entry_counts(committed, change):
    run = results(0)
    run["rows"][1] |= change
    found = compare(run, committed)
    assert found["identical"] == 3
    assert differing(found) == [("uavid", 0, "SSP", list(change))]


def test_what_only_a_finished_table_holds_does_not_count(committed):
    run = results(0)
    for each in run["rows"]:
        del each["gmacs"], each["flow_counted"]
    assert compare(run, committed)["identical"] == 4


def test_rows_that_differ_are_shown_beside_the_spread_and_with_what_else_differs(committed):
    run = results(0)
    run["rows"][1] |= {"miou": 0.703, "training_steps": 8}
    run["provenance"]["versions"] = VERSIONS | {"numpy": "2.5.0"}
    found = compare(run, committed)
    lines = details(found).splitlines()
    assert "mIoU committed" in lines[0]
    assert lines[1].split() == ["uavid", "SSP", "0", "2", "71.00", "70.30", "1.41", "90.00", "90.00", "0.00"]
    assert lines[3:] == ["numpy: 2.4.6 committed, 2.5.0 here"]
    apart = found["apart"]["miou"]
    assert apart == {"mean": pytest.approx(0.007), "largest": pytest.approx(0.007), "std": pytest.approx(0.02 / 2**0.5)}
    assert "3 of 4 rows are the committed ones in every digit; the others differ by 0.70 points of mIoU (at most 0.70)" in (
        summary(found)
    )


def test_rows_of_one_table_alone_are_counted(committed):
    run = results(0)
    del run["rows"][1:]  # RuralScapes is not scored at all yet
    assert "; 3 more are committed and not scored here (seed 0," in summary(compare(run, committed))
    assert "; 4 are scored here only (seeds 0, 3," in summary(compare(over_seeds([results(0), results(3)]), committed))


def test_nothing_in_common_is_an_error(committed):
    with pytest.raises(SspError, match="no row in common"):
        compare(results(7), committed)
    other = results(0)
    other["provenance"]["data"] = "real data"
    with pytest.raises(SspError, match=f"the run is on real data, the committed one on {RENDERED}; they do not compare"):
        compare(other, committed)


@pytest.fixture
def folder(committed, tmp_path, monkeypatch):
    """A repository whose committed run of the demo has two seeds; run's figures are in `demo/figures` of the folder."""
    monkeypatch.setattr(module, "REPOSITORY", tmp_path)
    monkeypatch.setattr("sspcore.core.paths.Workspace.base", property(lambda self: tmp_path / self.profile))
    write_json(tmp_path / "figures" / TABLE, committed)
    return tmp_path


def test_a_table_that_is_missing_is_named_with_what_to_do(folder):
    with pytest.raises(SspError, match="profile smoke publishes nothing"):
        tables_of(load_profile("smoke"), folder)
    with pytest.raises(SspError, match="results.json: is missing; run ./reproduce.sh --profile demo first"):
        tables_of(load_profile("demo"), folder / "none")
    write_json(folder / "own" / TABLE, {})
    with pytest.raises(SspError, match=r"figures/paper-equal-steps/tables/results.json: is missing: no run of profile paper"):
        tables_of(load_profile("paper-equal-steps"), folder / "own")


def test_a_run_says_at_its_end_whether_its_rows_are_the_committed_ones(folder, monkeypatch, capsys):
    monkeypatch.setattr("sspcore.study.reproduce.reproduce", lambda *_: None)
    table = folder / "demo" / "figures" / TABLE

    def said(*options: str) -> str:
        assert main(["reproduce", *options]) == 0
        return capsys.readouterr().out

    assert said() == ""
    write_json(table, results(0))
    assert said() == "4 of 4 rows are the committed ones in every digit (seed 0, committed run abc)\n"
    assert said("--publish") == "" and said("--profile", "smoke") == ""
    write_json(table, results(0, 0.01))
    assert said().startswith("0 of 4 rows") and said().endswith("; sspcore compare shows them\n")
    write_json(table, results(9))
    assert said() == "" == after_run(load_profile("demo"), table.parents[1])


def test_the_command_prints_writes_and_tells_by_its_status(folder, capsys):
    table = folder / "demo" / "figures" / TABLE
    assert main(["compare"]) == 2
    assert "run ./reproduce.sh --profile demo first" in capsys.readouterr().err
    write_json(table, results(0))
    assert main(["compare", "--json", str(folder / "found.json")]) == 0
    assert capsys.readouterr().out.startswith("4 of 4 rows")
    assert read_json(folder / "found.json")["identical"] == 4
    assert main(["compare", "--json", str(folder / "found.json")]) == 2  # an output that is there already
    assert main(["compare", "--json", str(folder / "figures" / TABLE), "--overwrite"]) == 2  # an input
    write_json(table, results(0, 0.01))
    assert main(["compare"]) == 1
    assert capsys.readouterr().out.splitlines()[-1].startswith("0 of 4 rows")
