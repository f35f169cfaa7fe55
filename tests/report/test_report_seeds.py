"""Several seeds: statistics by hand, the distance to the curve, and refusal where a run is missing."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from helpers.studies import DATASET, TINY, write_predictions
from helpers.tables import row
from sspcore.cli.main import main
from sspcore.core.errors import ArtefactError
from sspcore.core.files import write_json
from sspcore.report import seeds
from sspcore.study import Study

CURVE = [(0.70, 0.60), (0.80, 0.62), (0.90, 0.50)]


@pytest.mark.parametrize("tc, miou, distance, end", [
    (0.75, 0.65, 0.04, ""), (0.80, 0.60, -0.02, ""), (0.85, 0.56, 0.0, ""), (0.90, 0.60, 0.10, ""),
    (0.60, 0.61, 0.01, "below"), (0.95, 0.55, 0.05, "beyond"),
])
def test_distance_to_the_curve(tc, miou, distance, end):
    found = seeds.above_curve(CURVE, tc, miou)
    assert found == (pytest.approx(distance), end)


def test_where_the_curve_doubles_back_the_higher_value_counts():
    folded = [(0.70, 0.60), (0.90, 0.62), (0.80, 0.40)]
    assert seeds.above_curve(folded, 0.85, 0.62)[0] == pytest.approx(0.62 - 0.615)


def made(seed: int, shift: float) -> list[dict]:
    rows = [row("Base", "image", 0.60, 0.70), row("SSP", "video", 0.63 + shift, 0.75), row("KD-SSP", "video", 0.7, 0.8),
            row("Constant alpha 0.5", "control", 0.62, 0.80)]
    return [entry | {"seed": seed} for entry in rows]


def test_means_spreads_and_differences():
    entries = {entry["system"]: entry for entry in seeds.summary([*made(0, 0.0), *made(1, 0.02)])}
    ssp = entries["SSP"]
    assert ssp["seeds"] == [0, 1] and ssp["miou"]["mean"] == pytest.approx(0.64)
    assert ssp["miou"]["std"] == pytest.approx(0.02 / 2**0.5)
    assert ssp["to_base"]["miou"]["mean"] == pytest.approx(0.04) and ssp["to_base"]["tc"]["std"] == pytest.approx(0)
    assert ssp["above_curve"]["values"] == pytest.approx([0.02, 0.04]) and ssp["above_curve"]["image_model"] == "Base"
    assert entries["Base"]["above_curve"] is None and entries["Base"]["to_base"] is None
    assert entries["KD-SSP"]["above_curve"] is None  # its own image model's curve is not there
    assert entries["Constant alpha 0.5"]["above_curve"] is None
    alone = seeds.summary([entry for entry in made(0, 0.0) if entry["system"] == "SSP"])[0]
    assert alone["miou"]["std"] is None and alone["to_base"] is None and alone["above_curve"] is None


def test_the_table_says_where_the_curve_ended():
    rows = made(0, 0.0)
    rows[1]["tc"] = 0.85
    origin = {"data": "rendered data, not the real data set", "profile": "smoke", "seeds": [0], "commit": "abc"}
    text = seeds.document({"provenance": origin, "rows": seeds.summary(rows)}).to_markdown()
    line = next(line for line in text.splitlines() if line.startswith("| SSP |"))
    assert line.endswith("| +1.00‡ (Base) |") and "+3.00" in line and "Rendered data, not the real data set" in text


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Study:
    """Two seeds of a tiny study with rows written by hand, as if they had been run."""
    root = tmp_path_factory.mktemp("seeds")
    for seed in (0, 1):
        study = Study.open("smoke", root=root, overrides=TINY, seed=seed)
        for name in ("Base", "SSP", *study.controls()):
            write_predictions(study, name, 0.1)
            folder = study.workspace.run(DATASET, seed, name, study.train_key(name, DATASET))
            kind = "control" if "alpha" in name else "image" if name == "Base" else "video"
            write_json(folder / "scores" / "row.json", row(name, kind, 0.6 + seed / 100, 0.7))
            counts = np.pad(np.diag([70 + seed] * 8), ((0, 0), (0, 1)), constant_values=1).tolist()
            clips = [{"clip": str(k), "counts": counts, "tc": 0.7, "tc_exact_flow": None} for k in range(5)]
            write_json(folder / "scores" / "clips.json", clips)
            write_json(folder / "scores" / "key.json", {"key": study.keys.scores(name, DATASET)})
    return study


def opened(study: Study, *numbers: int) -> list[Study]:
    return [Study.open("smoke", root=study.workspace.root, overrides=TINY, seed=k, read_only=True) for k in numbers]


def test_finished_runs_are_gathered_and_written(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(Study, "clips", lambda self, dataset, split: [SimpleNamespace(sequence=str(k)) for k in range(5)])
    (tmp_path / "ruralscapes_frontier_seeds.png").touch()
    written = seeds.write_seeds(opened(finished, 0, 1), ["Base", "SSP"], [DATASET], tmp_path)
    assert [path.name for path in written] == [
        *(f"seeds.{suffix}" for suffix in ("json", "csv", "md", "tex", "html")),
        "uavid_frontier_seeds.png", "uavid_frontier_moving_seeds.png"
    ]
    found = json.loads(written[0].read_text())
    assert found["provenance"]["seeds"] == [0, 1] and "seed" not in found["provenance"]
    assert [entry["miou"]["mean"] for entry in found["rows"]] == [pytest.approx(0.605)] * 3
    assert all("not the real data set" in entry["data"] for entry in found["rows"])
    (gain, above) = found["differences"]
    assert (gain["new"], gain["old"], gain["sequences"], gain["seeds"]) == ("SSP", "Base", 5, 2)
    assert gain["tc"] == gain["miou"] == above["miou"] == {"difference": 0, "low": 0, "high": 0}
    assert "| SSP | Base | +0.00 [+0.00, +0.00] |" in written[2].read_text()
    assert not (tmp_path / "ruralscapes_frontier_seeds.png").exists()


def test_what_is_missing_is_refused_and_nothing_is_made(finished):
    for numbers, systems in (((0, 2), ["Base"]), ((0,), ["Base", "DFF"])):
        with pytest.raises(ArtefactError, match="no finished run of seed") as caught:
            seeds.gather(opened(finished, *numbers), systems, [DATASET])
        assert "\n" not in str(caught.value) and "sspcore reproduce --profile smoke" in str(caught.value)
    runs = finished.workspace.run(DATASET, 2, "any", "any").parent
    assert not runs.exists() and not list((runs.parent / "seed0").glob("dff-*"))


def test_other_seeds_join_where_all_systems_have_finished(finished):
    first = opened(finished, 1)[0]
    assert [study.seed for study in seeds.finished_studies(first, ["Base", "SSP"], [DATASET])] == [1, 0]
    kept = finished.workspace.run(DATASET, 0, "SSP", finished_key(finished, 0)) / "scores"
    kept.rename(kept.with_name("away"))
    try:
        assert [study.seed for study in seeds.finished_studies(first, ["Base", "SSP"], [DATASET])] == [1]
        with pytest.raises(ArtefactError, match="no finished run of seed 0"):
            seeds.finished_studies(opened(finished, 0)[0], ["Base", "SSP"], [DATASET])
    finally:
        kept.with_name("away").rename(kept)


def finished_key(study: Study, seed: int) -> str:
    return opened(study, seed)[0].train_key("SSP", DATASET)


@pytest.mark.parametrize("arguments, message", [
    (["--seeds", "0,x"], "'0,x': expected whole numbers"),
    (["--profile", "demmo", "--seeds", "0"], "profile 'demmo' is unknown"),
])
def test_wrong_usage_is_one_line_and_status_2(arguments, message, capsys, tmp_path):
    assert main(["seeds", *arguments, "--root", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_an_empty_workspace_is_refused_before_anything_is_rendered(capsys, tmp_path):
    assert main(["seeds", "--profile", "smoke", "--seeds", "0", "--root", str(tmp_path), "--out", str(tmp_path / "o")]) == 2
    assert "no finished run of seed 0" in capsys.readouterr().err and not any(tmp_path.iterdir())
