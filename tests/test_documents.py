"""README.md and docs/*.md: their tables are those of the files under figures/, and what their sentences say holds."""

from __future__ import annotations

import hashlib
import importlib
from pathlib import Path

import pytest

from sspcore.report import paired, rivals
from sspcore.report.long_stream import condition_table, drift

ROOT = Path(__file__).resolve().parents[1]
PUBLISHED_SHA256 = "b4bc13b3d51b98d32ebfd8db20f85f3ec31e7954d066d7248f889d2ae7c699c6"


@pytest.fixture(scope="module")
def blocks():
    """docs/blocks.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "docs")
        return importlib.import_module("blocks")


def test_tables_in_documents_are_those_of_the_figures(blocks):
    found = []
    for name in blocks.DOCUMENTS:
        text = (ROOT / name).read_text(encoding="utf-8")
        assert text == blocks.written(text), f"{name}: run `python docs/blocks.py`"
        found += [match[1] for match in blocks.BLOCK.findall(text)]
    assert sorted(found) == sorted(blocks.BLOCKS)


def test_a_wrong_digit_is_replaced_and_the_text_around_it_stays(blocks):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    wrong = text.replace(blocks.score("uavid", "KD-SSP", "miou"), "99.99")
    assert wrong != text and blocks.written(wrong) == text


def test_machines_that_were_measured_are_a_row_a_system(blocks):
    (text,) = blocks.blocks_of_benchmarks.machines([])["GPU"]
    assert text.startswith("none measured yet")
    step = {"system": "SSP", "mode": "bfloat16", "seconds": 0.25, "memory_gib": 12.34}
    rates = [{"system": "SSP", "mode": "tf32", "fps": 101.26}, {"system": "SSP-R", "mode": "float16", "fps": 90.0}]
    machine = {"provenance": {"gpu": "Some GPU"}, "training": [step], "streams": rates}
    rows = blocks.blocks_of_benchmarks.machines([machine, machine]).to_numpy().tolist()
    none = blocks.NONE
    assert rows[0] == ["Some GPU", "SSP", f"{none} / {none} / 0.250", "12.3", f"{none} / 101.3 / {none}", "95"]
    assert rows[1] == ["Some GPU", "SSP-R", f"{none} / {none} / {none}", none, f"{none} / {none} / 90.0", none]
    assert len(rows) == 4


@pytest.mark.parametrize("low, high, gain, kept", [
    (0.01, 0.03, "yes", "yes"), (-0.004, 0.03, "not told apart", "yes"), (-0.02, 0.03, "not told apart", "not told apart"),
    (-0.03, -0.01, "no", "no"), (-0.004, -0.001, "no", "yes"), (None, None, "no interval", "no interval"),
])
def test_the_word_for_a_claim_follows_its_interval(blocks, low, high, gain, kept):
    claims = blocks.blocks_of_claims
    found = {"difference": 0.0, "low": low, "high": high}
    assert (claims.judged(found), claims.judged(found, kept=True)) == (gain, kept)
    assert claims.judged(None) == "not in this run"


def test_a_claim_takes_the_interval_of_its_run(blocks, monkeypatch):
    claims = blocks.blocks_of_claims
    about = {"new": "SSP", "old": "Base", "sequences": 6, "seeds": 1}
    rows = [
        about | {"dataset": "uavid", "tc": {"difference": 0.11, "low": 0.09, "high": 0.13}},
        about | {"dataset": "ruralscapes", "tc": {"difference": -0.02, "low": -0.03, "high": -0.01}},
    ]
    monkeypatch.setattr(claims, "read", lambda name: {"rows": [], "differences": rows})
    (line,) = claims.table_of([claims.Claim("steadier", "SSP", "Base", "tc")], paper=True).to_dict("records")
    assert line["UAVid: here"] == "**+11.00** [+9.00, +13.00]" and line["UAVid: paper"] == "+13.08"
    assert line["Came out here?"] == "UAVid: yes; RuralScapes: no"


def test_folds_are_means_with_the_number_of_better_ones(blocks):
    columns = ("miou", "miou_moving", "tc")
    summary = [
        {"dataset": "uavid", "variant": name, "folds": folds, "above_curve": 0.02}
        | dict.fromkeys(columns, score) | dict.fromkeys((f"{column}_better" for column in columns), 2)
        for name, score, folds in (("SSP", 0.5, 3), ("Constant alpha 0.5", 0.4, 3), ("rate 8", 0.51, 3), ("rate 24", 0.49, 1))
    ]
    labels = [{"dataset": "uavid", "labels": "fused", "miou": value, "miou_moving": value} for value in (0.5, 0.7)]
    found = {"head-rate": {"summary": summary, "labels": labels, "compared_with": "SSP"}}
    rows = blocks.blocks_of_benchmarks.fold_rows(found).to_numpy().tolist()
    assert rows == [
        ["head-rate", "UAVid", "SSP", *["50.00"] * 3, "+2.00"],
        ["head-rate", "UAVid", "rate 8", *["51.00 (+1.00, 2 of 3)"] * 3, "+2.00"],
        ["head-rate", "UAVid", "rate 24", *["49.00 (−1.00)"] * 3, "+2.00"],
    ]
    assert blocks.blocks_of_benchmarks.fold_label_rows(found).to_numpy().tolist() == [["UAVid", "fused", "60.00", "60.00"]]


def test_rivals_are_a_row_a_system_with_their_height_above_the_curve(blocks):
    row = {"dataset": "uavid", "miou_moving": 0.4, "tc_exact_flow": 0.5, "flicker": 0.01, "lag": 1.5}
    row |= {"motion_ms": 2.0, "network_ms": 3.0}
    scores = {"Base": (0.6, 0.5), "Constant alpha 0.5": (0.5, 0.7), "Majority vote 5": (0.57, 0.6), "SSP": (0.58, 0.8)}
    rows = [row | {"system": name, "miou": miou, "tc": tc} for name, (miou, tc) in scores.items()]
    report = {"titles": {"uavid": "UAVid"}, "rows": rows}
    found = blocks.blocks_of_streams.rivals(report).set_index("System")
    assert list(found["above the curve (points)"]) == [blocks.NONE, blocks.NONE, "+2.00", "+8.00 (beyond it)"]
    assert list(found.loc["SSP", ["Data set", "mIoU (%)", "flicker (%)", "lag (frames)"]]) == ["UAVid", "58.0", "1.0", "1.5"]


def test_long_streams_are_a_row_a_system_and_a_row_a_disturbance(blocks):
    def systems(*values):
        names = ("Base", "SSP")
        keys = ("miou", "miou_moving", "tc", "flicker", "changed", "alpha", "lag")
        overall = [dict.fromkeys(keys, value) for value in values]
        windows = [{"miou": [value, value + 0.01, value + 0.02]} for value in values]
        return {name: {"overall": one, "windows": each} for name, one, each in zip(names, overall, windows, strict=True)}

    counts = {"frames": 300, "jumps": 2, "cuts_found": 1, "cuts_elsewhere": 0, "unregistered": 3, "first_frames": [0, 100, 200]}
    labelled = {name: counts | {"systems": systems(0.5, value)} for name, value in (("undisturbed", 0.75), ("scene cuts", 0.7))}
    unlabelled = {"systems": {name: {"overall": {"tc": 0.5}, "windows": {}} for name in ("Base", "SSP")}}
    report = {"streams": {
        "flight": {"frames": 300, "window": 100, "conditions": labelled},
        "own": {"frames": 30, "window": 100, "conditions": dict.fromkeys(labelled, counts | unlabelled)},
    }}
    streams = blocks.blocks_of_streams.streams(report).to_dict("records")
    assert [(row["Footage"], row["System"], row["mIoU (%)"]) for row in streams] == [
        ("flight, 300 frames", "Base", "50.0"), ("flight, 300 frames", "SSP", "75.0"),
        ("own, 30 frames", "Base", blocks.NONE), ("own, 30 frames", "SSP", blocks.NONE),
    ]
    rows = blocks.blocks_of_streams.conditions(report)[["Condition", "cuts found", "SSP: mIoU, TC"]].to_numpy().tolist()
    assert rows == [["undisturbed", "1 of 2", "+25.00, +25.00"], ["scene cuts", "1 of 2", "+20.00, +20.00"]]


def test_a_run_made_again_is_counted_and_its_systems_stand_beside_the_committed_ones(blocks, monkeypatch):
    def scores(committed):
        return {"committed": committed, "run": committed + 0.25, "std": 0.01}

    rows = [
        {"system": system, "dataset": dataset, "miou": scores(0.25), "tc": scores(0.5), "miou_moving": scores(0.125)}
        for system in ("SSP", "Constant alpha 0.3") for dataset in ("uavid", "ruralscapes")
    ]
    origin = {"profile": "demo", "seed": 0, "commit": "abc", "machine": "some machine"}
    files = {
        "reproduced.json": {"run": origin, "committed": {"commit": "first"}, "identical": 3, "missing": 2, "rows": rows},
        "robustness.json": {"provenance": origin, "kills": 20, "identical": 19},
        "engine.json": {"identical": {
            "provenance": origin, "workers": {"2": [], "4": ["results.md"]},
            "killed_workers": {"in": ["a", "b"], "differing": []},
        }},
    }
    runs = blocks.blocks_of_runs
    monkeypatch.setattr(runs, "read", files.__getitem__)
    found = runs.repeated()
    assert list(found["The same in every digit"]) == ["3 of 6 rows", "tables after 19 of 20 kills", "tables of 2 of 3 runs"]
    assert found["What was run again"][0] == "the run of first from nothing in a new clone, on some machine"
    (line,) = runs.other_machine().to_dict("records")
    assert list(line.values()) == ["SSP", *["25.00 → 50.00 (± 1.00)", "50.00 → 75.00 (± 1.00)", "12.50 → 37.50 (± 1.00)"] * 2]


def test_what_is_said_of_the_run_on_another_machine_holds(blocks):
    found = blocks.read("reproduced.json")
    miou, tc = (found["apart"][name] for name in ("miou", "tc"))
    readme, claims = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/claims.md"))
    assert f"rows differ by {100 * miou['mean']:.2f} points of" in readme and 0.4 < miou["mean"] / miou["std"] < 0.6
    means = f"{100 * miou['mean']:.2f} points of mIoU and {100 * tc['mean']:.2f} of TC"
    assert f"its {len(found['rows'])} rows it differs by {means}" in claims
    assert f"deviation over seeds is {100 * miou['std']:.2f} and {100 * tc['std']:.2f}" in claims
    there = {(row["dataset"], row["system"]): row for row in found["rows"]}
    decided = [
        (there[dataset, claim.new][claim.score]["run"] - there[dataset, claim.old][claim.score]["run"]) * known["difference"]
        for claim in blocks.blocks_of_claims.PAPER for dataset in blocks.TITLES
        if (known := claim.found(dataset))["low"] > 0 or known["high"] < 0
    ]
    assert len(decided) > 20 and min(decided) > 0


def test_a_table_without_its_file_names_the_command(blocks):
    block = blocks.blocks_of_benchmarks.written_of("no such file.json", "python benchmarks/rivals.py", lambda report: 1 / 0)
    assert block().to_numpy().tolist() == [["none measured yet: `python benchmarks/rivals.py`"]]


@pytest.mark.parametrize("dataset", ["uavid", "ruralscapes"])
def test_what_is_said_of_folds_holds(blocks, dataset):
    found = blocks.read("folds.json")
    sets = {
        name: {row["variant"]: row for row in content["summary"] if row["dataset"] == dataset}
        for name, content in found.items()
    }
    moving = {name: row["miou_moving"] for name, row in sets["kd-moving"].items()}
    both = moving["class balance 1, twice the steps"]
    assert both == max(moving[name] for name in moving if name not in ("Teacher", "labels of the truth")) > moving["Base"]
    assert min(moving["twice the steps"], moving["class balance 1"]) > moving["KD Base"] > moving["temperature 2"]
    assert moving["labels of the truth"] > max(moving["Base"], moving["KD Base"])
    of_labels = {row["labels"]: row["miou_moving"] for row in found["kd-moving"]["labels"] if row["dataset"] == dataset}
    assert abs(of_labels["fused"] - of_labels["unfused"]) < 0.005 < of_labels["truth at stride 4"] - of_labels["fused"]
    heights = [sets["head-rate"][name]["above_curve"] for name in ("rate 1", "SSP", "rate 8", "rate 24")]
    assert heights == sorted(heights)
    after = sets["kd-video"]
    assert after["twice the steps"]["above_curve"] > max(0, after["KD-SSP"]["above_curve"])
    assert abs(sets["kd-head-rate"]["rate 24"]["above_curve"] - sets["kd-head-rate"]["KD-SSP"]["above_curve"]) < 0.005


@pytest.mark.parametrize("dataset", ["uavid", "ruralscapes"])
def test_what_readme_says_of_the_committed_run_holds(blocks, dataset):
    rows = blocks.rows_of(dataset)
    differences = blocks.read("tables/results.json")["differences"]

    def word(new, old, score="miou"):
        return paired.verdict(paired.comparison(differences, dataset, new, old)[score])

    others = {row["system"] for row in rows.values() if row["kind"] != "control"} - {"Teacher", "KD Base", "KD-SSP"}
    assert {word("KD-SSP", other) for other in others} == {paired.BETTER}
    assert word("KD-SSP", "KD Base") == paired.UNDECIDED and word("KD-SSP", "KD Base", "tc") == paired.BETTER
    assert word("KD-SSP", "Teacher") == {"uavid": paired.UNDECIDED, "ruralscapes": paired.WORSE}[dataset]
    assert word("KD-SSP", "Teacher", "miou_moving") == paired.WORSE
    assert word("SSP", "Base", "tc") == paired.BETTER and rows["SSP"]["tc"] > rows["Base"]["tc"] + 0.10
    assert word("SSP", "Base") == {"uavid": paired.UNDECIDED, "ruralscapes": paired.BETTER}[dataset]
    assert word("SSP", "Base", "miou_moving") == {"uavid": paired.WORSE, "ruralscapes": paired.UNDECIDED}[dataset]
    assert word("KD-SSP", "KD Base", "miou_moving") == paired.WORSE
    assert word("SSP", "DFF", "tc") == paired.UNDECIDED and 0.05 < rows["SSP"]["miou"] - rows["DFF"]["miou"] < 0.06
    assert word("SSP", "NetWarp") == {"uavid": paired.WORSE, "ruralscapes": paired.UNDECIDED}[dataset]
    distances = [f"{100 * blocks.curve_distance(dataset, name)[0]:.1f}" for name in ("SSP", "KD-SSP")]
    said = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert f"by {distances[0]} and {distances[1]} {'points on UAVid' if dataset == 'uavid' else 'on RuralScapes'}" in said
    for name in ("SSP", "KD-SSP"):
        assert word(name, paired.CURVE) == paired.BETTER


@pytest.mark.parametrize(("dataset", "above"), [("uavid", "2.7"), ("ruralscapes", "1.2")])
def test_what_readme_says_of_ssp_r_holds(blocks, dataset, above):
    seeds = blocks.read("tables/seeds.json")
    entries = {entry["system"]: entry for entry in seeds["rows"] if entry["dataset"] == dataset}

    def word(new, old, score):
        return paired.verdict(paired.comparison(seeds["differences"], dataset, new, old)[score])

    assert entries["SSP-R"]["seeds"] == [0, 1, 2]
    assert f"{100 * entries['SSP-R']['above_curve']['mean']:.1f}" == above
    assert entries["SSP-R"]["above_curve"]["mean"] < entries["SSP"]["above_curve"]["mean"]
    on_uavid = dataset == "uavid"
    assert word("SSP-R", paired.CURVE, "miou") == word("SSP-R", "Base", "tc") == paired.BETTER
    assert word("SSP-R", "Base", "miou_moving") == (paired.UNDECIDED if on_uavid else paired.BETTER)
    assert word("SSP-R", "SSP", "miou_moving") == (paired.BETTER if on_uavid else paired.UNDECIDED)
    assert word("SSP-R", "SSP", "miou") == (paired.BETTER if on_uavid else paired.UNDECIDED)
    assert word("SSP-R", "SSP", "tc") == word("KD-SSP-R", "KD Base", "miou_moving") == paired.WORSE
    lost = paired.comparison(seeds["differences"], dataset, "KD-SSP-R", "KD Base")["miou_moving"]["difference"]
    assert f"{-100 * lost:.1f}" == ("0.5" if on_uavid else "0.7")


@pytest.mark.parametrize(("dataset", "above_flow", "above_ssp"), [("uavid", "4.3", "8.6"), ("ruralscapes", "1.1", "2.0")])
def test_what_readme_says_of_rivals_holds(blocks, dataset, above_flow, above_ssp):
    rows = {row["system"]: row for row in rivals.rows_of(blocks.read("rivals.json"), dataset)}
    others = [name for name in rows if name in rivals.RIVALS]
    flow, ssp = rows["Flow average 0.7"], rows["SSP"]
    assert max(others, key=lambda name: rows[name]["above_curve"]) == "Flow average 0.7" and len(others) == 5
    assert (f"{flow['above_curve']:.1f}", f"{ssp['above_curve']:.1f}") == (above_flow, above_ssp)
    assert flow["miou_moving"] >= rows["Base"]["miou_moving"]
    assert not any(rows[name]["miou"] >= ssp["miou"] and rows[name]["tc"] >= ssp["tc"] for name in others)
    if dataset == "uavid":
        assert flow["miou"] > rows["SSP-R"]["miou"] and flow["tc"] > rows["SSP-R"]["tc"]


def test_what_the_ablations_say_of_flow_holds(blocks):
    for dataset in ("uavid", "ruralscapes"):
        rows = {row["variant"]: row for row in blocks.read("tables/ablations.json")["rows"] if row["dataset"] == dataset}
        assert rows["flow at inference"]["miou_moving"] > rows["Base"]["miou_moving"] > rows["SSP"]["miou_moving"]
        parts = [row for row in blocks.read("tables/ablations_ssp-r.json")["rows"] if row["dataset"] == dataset]
        whole, *taken = (
            next(row for row in parts if row["variant"] == name)
            for name in ("SSP-R", "no recurrence", "no evidence", "no classes")
        )
        assert max(abs(row["miou"] - whole["miou"]) for row in taken) < 0.0055
        assert taken[0]["tc"] > whole["tc"] and taken[0]["miou_moving"] < whole["miou_moving"]


def test_what_readme_says_of_long_streams_holds(blocks):
    stream = blocks.read("long_stream.json")["streams"]["rendered flight"]
    rows = condition_table(stream)

    def gain(condition: str, name: str) -> float:
        return float(rows[condition][f"{name}: mIoU, TC"].split(",")[0].replace("−", "-"))

    steadied = [name for name in stream["conditions"]["undisturbed"]["systems"] if name != "Base"]
    assert all(drift(stream, name).low < 0 < drift(stream, name).high for name in steadied) and len(steadied) == 5
    assert gain("undisturbed", "SSP") - gain("registrations lost", "SSP") == pytest.approx(0.5, abs=0.1)
    assert [round(gain("a third of the frame rate", name), 1) for name in ("SSP", "SSP-R")] == [-3.9, -1.7]
    assert rows["scene cuts"]["cuts found"] == "7 of 7"


def test_the_published_table_is_as_it_was_transcribed():
    """Read against the paper digit by digit when it was written; no later change is right."""
    text = (ROOT / "sspcore/study/published.csv").read_bytes().replace(b"\r\n", b"\n")
    assert hashlib.sha256(text).hexdigest() == PUBLISHED_SHA256
