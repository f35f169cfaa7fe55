"""Several training seeds: means and deviations by hand, one seed left as it is, what tables and pictures make of them."""

from __future__ import annotations

import csv
import io
import json
import math
from types import SimpleNamespace

import pytest
from PIL import Image

from helpers.tables import row
from sspcore.data.datasets import UAVID
from sspcore.report import figures, pictures
from sspcore.report.cost import with_costs
from sspcore.report.results import document
from sspcore.report.spread import mean_and_std, of_seed, over_seeds, seed_rows, seeds_text, spread
from sspcore.report.tables import points
from sspcore.study.profiles import load_profile

ORIGIN = {"data": "rendered data, not the real data set", "profile": "smoke", "seed": 0, "commit": "abc", "minutes": 1.5}


def of(seed: int, miou: float, tc: float, *names: str) -> dict:
    rows = [row(name, "image" if name == "Base" else "video", miou + k / 100, tc) for k, name in enumerate(names)]
    return {"provenance": ORIGIN | {"seed": seed}, "rows": rows}


@pytest.fixture
def results() -> dict:
    return over_seeds([of(0, 0.60, 0.80, "Base", "SSP"), of(1, 0.62, 0.84, "Base", "SSP"), of(2, 0.64, 0.82, "Base", "SSP")])


def test_mean_and_sample_deviation_of_what_is_known():
    assert mean_and_std([0.60, 0.62, 0.64]) == (pytest.approx(0.62), pytest.approx(0.02))
    assert mean_and_std([0.5, None]) == (0.5, None) and mean_and_std([None, None]) == (None, None)
    assert spread(0.7772, 0.0051) == "77.72 ± 0.51" and spread(0.01, None, "+") == "+1.00"
    assert points(-0.0391) == "−3.91" and points(-0.0391, 0.0123) == "−3.9 ± 1.2"


def test_one_seed_stays_byte_for_byte():
    alone = of(3, 0.6, 0.8, "Base", "SSP")
    assert json.dumps(over_seeds([alone])) == json.dumps(alone)
    assert document(over_seeds([alone])).to_markdown() == document(alone).to_markdown()
    assert seed_rows(alone) is alone["rows"] and seeds_text(alone["provenance"]) == "seed 3"


def test_a_row_holds_mean_and_deviation_and_every_seed_keeps_its_own(results):
    base, ssp = results["rows"]
    assert (base["miou"], base["miou_std"]) == (pytest.approx(0.62), pytest.approx(0.02)) and base["seeds"] == [0, 1, 2]
    assert (ssp["tc"], ssp["tc_std"]) == (pytest.approx(0.82), pytest.approx(0.02))
    assert ssp["per_class_iou"]["road"] == pytest.approx(0.63) and ssp["per_class_iou_std"]["road"] == pytest.approx(0.02)
    assert base["tc_reference"] is None and base["tc_reference_std"] is None  # not measured
    assert base["params_m"] == 4.0 and "params_m_std" not in base and "seed" not in base
    assert [(entry["seed"], entry["system"]) for entry in seed_rows(results)] == [
        (seed, name) for seed in (0, 1, 2) for name in ("Base", "SSP")
    ]
    assert seed_rows(results)[2]["miou"] == 0.62
    assert results["provenance"]["seeds"] == [0, 1, 2] and "seed" not in results["provenance"]
    assert list(results["provenance"]) == [{"seed": "seeds"}.get(key, key) for key in ORIGIN]
    assert of_seed(results["provenance"], 1) == ORIGIN | {"seed": 1}


def test_systems_that_some_seeds_lack_keep_their_place():
    found = over_seeds([of(0, 0.6, 0.8, "SSP"), of(1, 0.6, 0.8, "Base", "SSP")])
    assert [(entry["system"], entry["seeds"]) for entry in found["rows"]] == [("Base", [1]), ("SSP", [0, 1])]
    assert found["rows"][0]["miou_std"] is None


def test_tables_print_the_spread(results):
    made = document(results)
    assert "**63.0 ± 2.0**" in made.to_markdown() and "<ins>62.0 ± 2.0</ins>" in made.to_markdown()
    assert "training seeds 0, 1, 2" in made.to_markdown() and "standard deviation over the training seeds" in made.to_markdown()
    assert r"\textbf{63.0 $\pm$ 2.0}" in made.to_latex() and "<strong>63.0 ± 2.0</strong>" in made.to_html()
    lines = list(csv.DictReader(io.StringIO(made.to_csv())))
    assert [line["seeds"] for line in lines] == ["0 1 2"] * 2
    assert float(lines[1]["miou"]) == pytest.approx(0.63) and float(lines[1]["miou_std"]) == pytest.approx(0.02)


def test_costs_reach_the_rows_of_every_seed(results):
    for entry in [*results["rows"], *results["rows_by_seed"]]:
        del entry["gmacs"]
    found = with_costs(results, load_profile("smoke"))
    assert len({entry["gmacs"] for entry in [*found["rows"], *found["rows_by_seed"]] if entry["system"] == "SSP"}) == 1
    assert all(entry["data"] == ORIGIN["data"] for entry in found["rows_by_seed"])


def test_pictures_of_rows_show_all_seeds_and_those_of_videos_say_whose_they_are(results, tmp_path, monkeypatch):
    for name in ("flicker", "step", "alpha", "drift", "training"):
        monkeypatch.setattr(pictures, f"{name}_picture", lambda *_: figures.per_class(results["rows"], "t"))
    study = SimpleNamespace(seed=1, began=math.inf, spec=lambda name: UAVID)
    drawn = {}

    def frontier(rows, title, **_):
        drawn[title] = rows
        return figures.per_class(rows, title)

    monkeypatch.setattr(pictures, "frontier", frontier)
    written = {path.stem: path for path in pictures.write_figures(study, results, ["Base", "SSP"], ["uavid"], tmp_path)}
    assert [len(rows) for rows in drawn.values()] == [6, 6]
    assert Image.open(written["uavid_frontier"]).text["sspcore.seeds"] == "[0, 1, 2]"
    assert Image.open(written["uavid_flicker"]).text["sspcore.seed"] == "1"
