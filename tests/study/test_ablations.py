"""Ablations: each changes what it says and nothing else, one that fails keeps the rest, tables and words follow the rows."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from sspcore.cli.main import main
from sspcore.core.errors import ProfileError, SspError
from sspcore.core.types import Motion
from sspcore.models.systems import ABLATIONS, RECURRENT_ABLATIONS, START, SYSTEMS, build, system
from sspcore.report import ablations as tables
from sspcore.report.ablations import ablation_map, document, findings, gain, write
from sspcore.report.tables import points
from sspcore.study import Study, ablations
from sspcore.study.ablations import LAMBDAS, SMOKE_VARIANTS, variants
from sspcore.study.keys import Keys
from sspcore.study.profiles import load_profile

FORMATS = ("json", "csv", "md", "tex", "html")
ORIGIN = {"profile": "demo", "seed": 0, "commit": "c0ffee", "data": "rendered"}
DEMO = load_profile("demo")


@pytest.fixture
def no_data(monkeypatch):
    """Studies that render nothing: keys need an identity of the data only."""
    monkeypatch.setattr(Keys, "clips", lambda self, dataset: f"clips of {dataset}")
    monkeypatch.setattr(Study, "flow_error", lambda self, dataset: None)


def made_row(variant: str, group: str, miou: float, tc: float, moving: float | None = 0.5, **values) -> dict:
    compared_with = None if group in ("reference", "method") else "SSP"
    row = {"variant": variant, "group": group, "question": "Why?", "system": "SSP", "compared_with": compared_with}
    row |= {"weight": None, "overrides": {}, "train_key": variant, "dataset": "uavid", "miou": miou, "tc": tc}
    return row | {"tc_exact_flow": None, "miou_moving": moving, "training_steps": 8} | values


@pytest.fixture
def results() -> dict:
    rows = [
        made_row("Base", "reference", 0.60, 0.70), made_row("Constant alpha 0.5", "reference", 0.60, 0.80),
        made_row("SSP", "method", 0.62, 0.85),
        made_row("lambda 0", "lambda", 0.63, 0.75, weight=0.0),
        made_row("lambda 0.5", "lambda", 0.62, 0.85, weight=0.5, train_key="SSP"),
        made_row("no registration", "part", 0.58, 0.86, moving=None),
    ]
    failed = [{"variant": "cosine similarity", "dataset": "uavid", "error": "SspError: the loss became nan"}]
    return {"method": "SSP", "provenance": ORIGIN, "rows": rows, "failed": failed}


@pytest.mark.parametrize("dataset", ["uavid", "ruralscapes"])
def test_a_variant_changes_its_own_key_and_no_other(no_data, tmp_path, dataset):
    main = Study.open("demo", root=tmp_path)
    keys = {variant.name: main.train_key(variant.system, dataset) for variant in variants(DEMO, dataset)[:7]}
    seen = set()
    for variant in variants(DEMO, dataset):
        study = Study.open("demo", root=tmp_path, overrides=variant.overrides)
        for shared in ("Teacher", START, "Base"):
            assert study.train_key(shared, dataset) == main.train_key(shared, dataset), variant.name
        key = study.train_key(variant.system, dataset)
        unchanged = variant.compared_with is None or variant.weight == DEMO.recipe("video", dataset).lambda_tc
        assert (key == keys[variant.compared_with or variant.name]) == unchanged, variant.name
        assert unchanged or key not in seen, variant.name
        seen.add(key)


def test_issue_and_registry_are_covered():
    found = {variant.name: variant for variant in variants(DEMO, "uavid")}
    assert [variant.weight for variant in found.values() if variant.group == "lambda"] == list(LAMBDAS)
    assert {variant.system for variant in found.values() if variant.group == "part"} == set(ABLATIONS)
    assert found["unfused labels"].overrides == {"fuse_teacher": False} and set(SMOKE_VARIANTS["SSP"]) <= set(found)
    assert all(system(name).hidden and name not in SYSTEMS for name in ABLATIONS)
    assert [variant.name for variant in variants(DEMO, "ruralscapes")] == list(found)


def test_each_variant_of_ssp_r_is_a_training_of_its_own(tmp_path, no_data):
    for dataset in DEMO.datasets:
        keys = []
        for variant in variants(DEMO, dataset, "SSP-R"):
            study = Study.open("demo", overrides=variant.overrides, root=tmp_path)
            keys.append(study.train_key(variant.system, dataset))
            assert study.train_key("SSP", dataset) == Study.open("demo", root=tmp_path).train_key("SSP", dataset)
        assert len(set(keys)) == len(keys)
    assert {variant.system for variant in variants(DEMO, "uavid", "SSP-R")} >= set(RECURRENT_ABLATIONS)


def test_untrained_image_model_starts_from_the_encoder_and_trains_as_long_as_both_trainings():
    (untrained,) = (variant for variant in variants(DEMO, "uavid") if variant.name == "untrained image model")
    assert system(untrained.system).starts_from is None
    changed = load_profile("demo", untrained.overrides)
    for name in ("epochs", "schedule_epochs"):
        whole = sum(getattr(DEMO.training[recipe], name) for recipe in ("image_start", "video"))
        assert getattr(changed.training["video"], name) == whole
    assert changed.training["image_start"] == DEMO.training["image_start"]
    (published,) = (each for each in variants(load_profile("paper"), "uavid") if each.name == "untrained image model")
    assert published.overrides == {}


def test_overrides_reach_the_recipe_that_a_data_set_really_takes():
    own = DEMO.model_copy(update={"training": DEMO.training | {"video@uavid": DEMO.training["video"]}})
    keys = {dataset: {key for variant in variants(own, dataset) for key in variant.overrides} for dataset in own.datasets}
    assert "training.video@uavid.lambda_tc" in keys["uavid"] and "training.video.lambda_tc" not in keys["uavid"]
    assert "training.video.lambda_tc" in keys["ruralscapes"]


def test_ablated_systems_do_what_their_names_say():
    profile = load_profile("smoke")
    torch.manual_seed(0)
    frames = torch.randn(2, 1, 3, 64, 96)
    shift = torch.eye(3, dtype=torch.float64)[None].clone()
    shift[0, 0, 2] = 40  # the past covers the right part of the frame only
    flow = torch.zeros(1, 2, 64, 96)
    flow[:, 0] = -24
    outliers = torch.tensor([[[10.0, 10.0, 0.0]]])
    states, mixed = {}, {}
    for name in ["SSP", *ABLATIONS]:
        torch.manual_seed(1)
        model = build(name, 8, profile, load_weights=False).eval()
        motion = Motion(shift, flow, outliers)
        with torch.inference_mode():
            _, state = model.step(frames[0], None)
            mixed[name], states[name] = model.step(frames[1], state, motion)
            alone = model.image.step(frames[1])[0]
        assert torch.equal(mixed[name], alone) == (name == "SSP (no interpolation)"), name
    assert "homography" not in build("SSP (no registration)", 8, profile, load_weights=False).needs
    assert states["SSP"].alpha[..., :30].max() == 0 and states["SSP (alpha not masked)"].alpha[..., :30].min() > 0
    assert not torch.equal(mixed["SSP"], mixed["SSP (cosine similarity)"])
    # no match is an inlier: the past comes by flow, from nearer than by the homography; with the same weights, trained or not
    assert states["SSP (gate)"].alpha[..., :22].max() == 0 and states["SSP (gate)"].alpha[..., 26:40].min() > 0
    for name in ("SSP (gate at inference)", "SSP (flow at inference)"):
        assert torch.equal(mixed["SSP (gate)"], mixed[name])


@pytest.mark.parametrize("name", ["SSP (gate at inference)", "SSP (flow at inference)"])
def test_another_past_at_inference_trains_nothing_of_its_own(no_data, tmp_path, name):
    spec, study = system(name), Study.open("demo", root=tmp_path)
    assert spec.recipe is None and system("SSP (gate at inference)").options == system("SSP (gate)").options
    assert all(spec.start(equal_steps) == "SSP" for equal_steps in (False, True))
    assert study.train_key("SSP", "uavid") != study.train_key(spec.name, "uavid") != study.train_key("SSP (gate)", "uavid")


def test_a_failing_variant_keeps_the_rest(no_data, tmp_path, monkeypatch):
    opened = []

    def evaluated(study, variant, dataset):
        opened.append((variant.name, study.profile.training["video"].lambda_tc))
        if variant.name == "no registration":
            raise SspError("the loss became nan")
        return made_row(variant.name, variant.group, 0.6, 0.7, dataset=dataset)

    monkeypatch.setattr(ablations, "evaluate", evaluated)
    results = ablations.run(Study.open("smoke", root=tmp_path))
    assert [(row["dataset"], row["variant"]) for row in results["rows"]] == [
        (dataset, name) for dataset in ("uavid", "ruralscapes") for name in SMOKE_VARIANTS["SSP"] if name != "no registration"
    ]
    assert results["failed"][0] == {
        "variant": "no registration", "dataset": "uavid", "error": "SspError: the loss became nan"
    }
    assert opened[2:6] == [("SSP", 0.5), ("lambda 0", 0.0), ("lambda 0.5", 0.5), ("no registration", 0.5)]
    assert {"commit", "profile", "seed", "versions", "machine", "data_key", "minutes", "data", "metric_flow"} <= set(
        results["provenance"]
    )


def test_rows_of_before_are_found_and_nothing_is_run_for_others(no_data, tmp_path, monkeypatch):
    made = {("SSP (gate)", "ruralscapes"), ("Base", "uavid")}
    monkeypatch.setattr(
        ablations.places, "scores", lambda study, name, dataset: SimpleNamespace(is_made=lambda: (name, dataset) in made)
    )

    def evaluated(study, variant, dataset):
        assert (variant.system, dataset) in made
        return {"variant": variant.name, "dataset": dataset}

    monkeypatch.setattr(ablations, "evaluate", evaluated)
    found = ablations.finished(Study.open("smoke", root=tmp_path), ["uavid", "ruralscapes"], ["Base", "SSP", "gate"])
    assert found == [{"variant": "Base", "dataset": "uavid"}, {"variant": "gate", "dataset": "ruralscapes"}]


def test_a_variant_is_scored_like_any_system(no_data, tmp_path, monkeypatch):
    monkeypatch.setattr(Study, "evaluate", lambda self, name, dataset: {"system": name, "dataset": dataset, "miou": 0.5})
    row = ablations.run(Study.open("demo", root=tmp_path), ["uavid"], ["lambda 0.2"])["rows"][0]
    assert row["variant"] == "lambda 0.2" and row["system"] == "SSP" and row["weight"] == 0.2
    assert row["overrides"] == {"training.video.lambda_tc": 0.2} and row["miou"] == 0.5
    assert row["train_key"] == Study.open("demo", root=tmp_path, overrides=row["overrides"]).train_key("SSP", "uavid")


@pytest.mark.parametrize("options, message", [
    ({"only": ["lambda 2"]}, "lambda 2: unknown; choose from Base, Constant alpha 0.5, SSP"),
    ({"datasets": ["cityscapes"]}, "'cityscapes' is unknown"),
])
def test_wrong_usage_runs_nothing(tmp_path, options, message):
    with pytest.raises(ProfileError, match=message):
        ablations.run(Study.open("smoke", root=tmp_path), **options)
    assert not list(tmp_path.iterdir())


def test_command_line_passes_its_options_on_and_tells_failures(monkeypatch, results, capsys):
    calls, folders = [], []
    monkeypatch.setattr(ablations, "run", lambda *arguments: calls.append(arguments) or results)
    monkeypatch.setattr(tables, "write", lambda found, folder: folders.append(folder) or [])
    assert main(["ablations", "--profile", "smoke", "--seed", "3", "--datasets", "uavid", "--only", "SSP, lambda 0"]) == 1
    ((study, *others),) = calls
    assert (study.profile.name, study.seed, others) == ("smoke", 3, [("uavid",), ("SSP", "lambda 0")])
    assert folders[0].parts[-3:] == ("data", "smoke", "figures")
    assert capsys.readouterr().err == "failed: uavid, cosine similarity: SspError: the loss became nan\n"
    results["failed"].clear()
    assert main(["ablations", "--profile", "smoke"]) == 0
    assert main(["ablations", "--profile", "smokey"]) == 2
    assert "profile 'smokey' is unknown" in capsys.readouterr().err


def test_tables_hold_every_row_with_its_difference(results, tmp_path):
    written = document(results).write(results, tmp_path, "ablations")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(map("ablations.{}".format, FORMATS))
    assert json.loads(written[0].read_text()) == results
    with (tmp_path / "ablations.csv").open() as file:
        assert [row["variant"] for row in csv.DictReader(file)] == [row["variant"] for row in results["rows"]]
    lines = {line.split("|")[1].strip(): line for line in document(results).to_markdown().splitlines() if line.startswith("|")}
    assert "| 58.00 | 86.00 | – | – | −4.00 | +1.00 | – | 8 |" in lines["no registration"]
    assert "lambda 0.5 (the run of SSP)" in lines and "| – | – | – | 8 |" in lines["SSP"]
    text = document(results).to_markdown()
    assert "Failed: cosine similarity on uavid" in text and "commit c0ffee" in text
    assert r"$\lambda$ 0.5 (the run of SSP) & 62.00 & 85.00 & 50.00 \\" in document(results).to_latex()


def test_differences_are_within_a_data_set(results):
    other = made_row("SSP", "method", 0.1, 0.1, dataset="ruralscapes")
    rows = [other, *results["rows"]]
    assert gain(rows, rows[-1], "miou") == pytest.approx(-0.04)
    assert gain(rows, rows[-1], "miou_moving") is None and gain(rows, other, "miou") is None
    assert points(-0.0412) == "−4.12" and points(None) == "–"


def test_words_follow_the_numbers(results):
    text = findings(results)
    assert "λ from 0 to 0.5: TC 75.00 → 85.00, mIoU 63.00 → 62.00; most mIoU at λ = 0" in text
    assert "No registration: −4.00 mIoU, +1.00 TC, – mIoU of moving classes against SSP" in text
    results["rows"][-1]["miou"] = 0.70
    assert "No registration: +8.00 mIoU" in findings(results)
    assert "Failed: cosine similarity on uavid" in text


def test_picture_joins_the_path_of_lambda_and_leaves_out_what_is_unknown(results, tmp_path):
    panels = [axes for axes in ablation_map(results, "uavid").axes if axes.get_xlabel()]
    curves = [[line.get_xydata().tolist() for line in axes.lines] for axes in panels]
    assert curves[0][0] == [[70.0, 60.0], [80.0, 60.0]] and curves[0][1] == [[75.0, 63.0], [85.0, 62.0]]
    assert curves[0][-1][0] == pytest.approx([86.0, 58.0]) and len(curves[0]) == len(curves[1]) + 1
    assert {text.get_text() for text in panels[0].texts} == {"Base", r"$\alpha$=0.5", r"$\lambda$=0", r"$\lambda$=0.5"}
    names = {Path(path).name for path in write(results, tmp_path)}
    assert names == {f"ablations.{suffix}" for suffix in FORMATS} | {"uavid_ablations.png"}
