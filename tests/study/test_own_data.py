"""Studies on data sets of one's own: settings fitted to the data, folders of their own, stills and videos without labels."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from helpers.flights import SIZE, write_flight
from sspcore.core.errors import ArtefactError, ProfileError, SspError
from sspcore.core.paths import Workspace
from sspcore.data.datasets import open_dataset
from sspcore.explore.from_study import systems_explorer
from sspcore.report.collect import example_film
from sspcore.report.cost import with_costs
from sspcore.report.pictures import draw_videos, write_figures
from sspcore.report.progress import write_progress_results
from sspcore.report.results import document, write_tables
from sspcore.report.seeds import write_seeds
from sspcore.study import Study
from sspcore.study import data as study_data
from sspcore.study.chapters import accepted, choose_notebooks
from sspcore.study.engine.data_tasks import study_spec
from sspcore.study.engine.make import make
from sspcore.study.engine.work import opened
from sspcore.study.own import frame_shape, with_own
from sspcore.study.profiles import Profile, available_profiles, load_profile
from sspcore.study.profiles.own import fitted, fitted_crop
from sspcore.study.publish import require_publishable
from sspcore.study.reproduce import Request, choose

QUICK = {"models.base.decoder_channels": 8, "models.teacher.decoder_channels": 8, "own.labelled": 4, "own.distilled": 4}


# ----------------------------------------------------------------- settings


@pytest.mark.parametrize("size, ratio, expected", [
    ((192, 320), 9 / 16, (192, 320)),  # as wide as film: the demo's own size
    ((192, 320), 16 / 9, (320, 192)),  # a telephone held upright
    ((192, 320), 3 / 4, (224, 288)),
    ((192, 320), 1, (256, 256)),
    ((736, 1280), 9 / 16, (736, 1280)),
    ((736, 1280), 3 / 4, (832, 1120)),
    ((32, 32), 9 / 16, (32, 32)),
])
def test_sizes_keep_their_pixels_at_the_shape_of_the_data(size, ratio, expected):
    assert fitted(size, ratio) == expected
    assert all(side % 32 == 0 for side in expected)


@pytest.mark.parametrize("crop, size, new, expected", [
    ((128, 224), (192, 320), (192, 320), (128, 224)),
    ((128, 224), (192, 320), (320, 192), (224, 128)),
    ((736, 736), (736, 1280), (1280, 736), (736, 736)),  # the full height of a wide frame is the full width of a high one
    ((736, 1280), (736, 1280), (832, 1120), (832, 1120)),
    ((64, 96), (96, 160), (32, 32), (32, 32)),
])
def test_crops_fit_into_the_new_size(crop, size, new, expected):
    assert fitted_crop(crop, size, new) == expected


@pytest.mark.parametrize("name", ["smoke", "demo", "paper", "paper-equal-steps", "paper-reference"])
@pytest.mark.parametrize("size", [SIZE, SIZE[::-1]])
def test_every_profile_can_be_put_on_own_data(name, size, tmp_path):
    path = write_flight(tmp_path / "flight", {"first": (0,)}, size=size, frame_step=3, validation_share=0.25, validation=[])
    loaded = load_profile(name)
    profile = with_own(loaded, path)
    height, width = profile.input_size
    assert height / width == pytest.approx(size[0] / size[1], rel=0.13)
    assert height * width == pytest.approx(loaded.input_size[0] * loaded.input_size[1], rel=0.21)
    assert profile.datasets == ("flight",) and profile.rendering is None and profile.publish_to is None
    assert profile.folder == f"{name}+flight" and profile.name == name
    assert profile.clips["flight"].frame_step == 3 and not profile.clips["flight"].require_label
    assert not [key for key in profile.training if "@" in key]
    own = loaded.own
    assert {profile.training[key].epoch_windows for key in ("image", "video", "teacher")} == {own.labelled}
    assert {profile.training[key].epoch_windows for key in ("kd_image", "kd_video")} == {own.distilled}
    assert "Base" in profile.systems and "DFF" not in profile.systems
    assert Profile.model_validate_json(profile.model_dump_json()) == profile  # as workers of Dask get it
    assert Profile.model_validate(profile.model_dump(mode="json")) == profile  # as torchrun's processes do
    assert loaded.dataset_names == ["uavid", "ruralscapes"] and not loaded.described


@pytest.mark.parametrize("changes, expected", [
    ("systems: [Base, SSP]", ("Base", "SSP")),
    ("systems: [Base, SSP]\nown: {systems: [Base]}", ("Base",)),
    ("seed: 3", ("Teacher", "Base", "KD Base", "SSP", "KD-SSP")),
])
def test_systems_that_a_user_s_profile_names_are_run(changes, expected, tmp_path):
    path, mine = write_flight(tmp_path / "flight", {"first": (0,)}), tmp_path / "unet.yaml"
    mine.write_text(f"extends: demo\n{changes}\n", encoding="utf-8")
    assert with_own(load_profile(str(mine)), path).systems == expected
    assert with_own(load_profile("demo", {"systems": ["Base", "KD-SSP"]}), path).systems == ("Base", "KD-SSP")


def test_no_profile_s_folder_is_that_of_data_of_one_s_own(tmp_path):
    profile = with_own(load_profile("paper"), write_flight(tmp_path / "reference", {"first": (0,)}))
    assert profile.folder == "paper+reference" and "paper-reference" in available_profiles()
    with pytest.raises(ProfileError, match="artefacts lie in a folder of this name"):
        load_profile("paper", {"name": "paper+reference"})


def test_the_file_s_own_input_size_holds(tmp_path):
    path = write_flight(tmp_path / "flight", input_size=[64, 96])
    profile = with_own(load_profile("smoke"), path)
    assert profile.input_size == (64, 96) and profile.teacher_size == (96, 128)
    other = write_flight(tmp_path / "other", input_size=[96, 96])
    with pytest.raises(ProfileError, match="input_size differs from that of"):
        with_own(load_profile("smoke"), [path, other])


def test_the_shape_is_that_of_the_videos_and_of_stills_where_there_is_none(tmp_path):
    both = open_dataset(write_flight(tmp_path / "both", stills=2))
    assert frame_shape([both]) == SIZE
    stills = open_dataset(write_flight(tmp_path / "stills", {}, stills=2, size=(50, 80), validation=["still1"]))
    assert frame_shape([stills]) == (50, 80) and frame_shape([stills, both]) == SIZE


@pytest.mark.parametrize("ask, problem", [
    (lambda path: {"dataset": "uavid"}, "--dataset uavid: comes with the profile; name it with --datasets"),
    (lambda path: {"dataset": write_flight(path.parent.with_name("own"))}, "own is a name that profiles use; rename"),
    (lambda path: {"dataset": [path, path]}, "another data set is called flight too"),
    (lambda path: {"dataset": []}, "--dataset: none is named"),
    (lambda path: {"dataset": path, "data": path.parent}, "--data and --dataset: give one of them"),
    (lambda path: {"dataset": path, "overrides": {"own": None}}, "profile smoke: own is missing"),
])
def test_what_cannot_be_meant_is_refused_in_one_line(ask, problem, tmp_path):
    path = write_flight(tmp_path / "flight")
    with pytest.raises(SspError, match=problem):
        Study.open("smoke", root=tmp_path, **ask(path))


def test_data_sets_of_one_name_never_share_a_folder(tmp_path):
    first, second = (write_flight(tmp_path / place / "flight") for place in ("a", "b"))
    Study.open("smoke", dataset=first, root=tmp_path)
    with pytest.raises(ArtefactError, match=r"smoke\+flight: holds what was made of a data set .* name in .*/a/flight"):
        Study.open("smoke", dataset=second, root=tmp_path)
    first.parent.rename(tmp_path / "a" / "moved")  # the same data, somewhere else: its artefacts are found again
    assert Study.open("smoke", dataset=second, root=tmp_path).workspace.base == tmp_path / "smoke+flight"


def test_own_data_are_not_published_and_concern_no_chapter_about_the_paper_s(tmp_path):
    with pytest.raises(SspError, match="--publish: figures/ is for the project's own data sets"):
        require_publishable(with_own(load_profile("demo"), write_flight(tmp_path / "flight")), ["flight"], ["Base"])
    systems = ["Teacher", "Base", "KD Base", "SSP", "KD-SSP"]
    names = [path.name[:2] for path in choose_notebooks(None, systems, ablations=False, own_data=True)]
    assert names == ["01", "03", "04", "05", "07", "08"]
    with pytest.raises(SspError, match="--only 11: is about the project's own data sets; with --dataset take 01, 03"):
        choose_notebooks(["11"], systems, ablations=False, own_data=True)


def test_data_are_looked_at_once_whatever_settings_change(tmp_path, monkeypatch):
    study = Study.open("smoke", dataset=write_flight(tmp_path / "flight"), root=tmp_path)
    found = study.checked("flight")
    monkeypatch.setattr(study_data, "require_release", lambda *_: pytest.fail("looked at again"))
    assert study.changed({"equal_steps": True}).checked("flight") is found


def test_a_run_is_asked_for_by_files(tmp_path, monkeypatch):
    path = write_flight(tmp_path / "flight")
    monkeypatch.setattr(study_data, "Workspace", partial(Workspace, root=tmp_path))
    chosen = choose(Request("smoke", dataset=[path.parent], only=["13"]))
    assert [each.name[:2] for each in chosen.notebooks] == ["13"]
    assert accepted(chosen.notebooks[0], chosen.parameters) == {"profile": "smoke", "seed": 0, "flight": str(path.parent)}
    assert "flight" not in choose(Request("smoke")).parameters  # what is set in the notebook stays
    assert chosen.datasets == ["flight"] and chosen.systems == ["Base", "SSP"]
    assert chosen.parameters["dataset_files"] == [str(path.parent)] and chosen.parameters["profile"] == "smoke"
    assert study_spec(chosen.studies[0]).folders == (str(path.parent),)


def test_what_moves_and_its_colour_make_no_training_stale(tmp_path):
    path, found = write_flight(tmp_path / "flight"), []
    for old, new in (("", ""), ("moving:\n- car", "moving:\n- tree"), ("- 90\n", "- 91\n")):
        path.write_text(path.read_text().replace(old, new))
        study = Study.open("smoke", dataset=path, root=tmp_path / "data")
        assert {clip.spec for clip in study.clips("flight", "val")} == {study.spec("flight").alone}
        found.append((study.keys.predictions("SSP", "flight"), study.keys.scores("SSP", "flight")))
    assert study.spec("flight").moving == ("tree",) and 91 in study.spec("flight").palette[0]
    assert found[0][0] == found[1][0] == found[2][0] and found[0][1] != found[1][1] == found[2][1]


# ----------------------------------------------------------------- all stages


@pytest.fixture(scope="module")
def flight(tmp_path_factory) -> Study:
    """Trained on one video with three labels and on three stills, scored on a video without labels and on a still."""
    folder = tmp_path_factory.mktemp("own")
    path = write_flight(
        folder / "flight", {"first": (0, 5, 9), "second": ()}, stills=4, validation=["second", "still3"], frame_step=2
    )
    return Study.open("smoke", dataset=path, root=folder / "data", overrides=QUICK)


SYSTEMS = ["Base", "SSP", "KD-SSP"]


@pytest.fixture(scope="module")
def results(flight) -> dict:
    """Made by the engine's own functions, in this process, from the study as JSON."""
    planned = replace(flight, maker=lambda study, goal: make(study, goal, workers=1), _memory={})
    planned.evaluate_all(["Base"], ["flight"])
    return flight.results(SYSTEMS, ["flight"])


def test_stills_count_for_accuracy_and_videos_for_consistency(flight, results):
    clips = {split: [(len(clip), clip.labelled) for clip in flight.clips("flight", split)] for split in ("train", "val")}
    # every second frame of the video, counted from its labels at 0, 5 and 9: 0, 2, 4, 5, 7, 9 and 11, 13
    assert sorted(clips["train"]) == [(1, (0,))] * 3 + [(2, ()), (6, (0, 3, 5))]
    assert sorted(clips["val"]) == [(1, (0,)), (7, ())]
    assert len(example_film(flight, "flight")) == 7  # and not the still, whose name comes first
    for row in results["rows"]:
        assert 0 <= row["miou"] <= 1 and 0 <= row["tc"] <= 1 and row["tc_exact_flow"] is None
    assert results["titles"] == {"flight": "Test flight"}
    assert results["provenance"]["data"] == "own data; smoke run: no result"


def test_video_systems_learn_from_stills_and_first_frames(flight, results):
    job = flight.training("SSP", "flight", flight.folder("SSP", "flight") / "training")
    assert sorted((len(ref.clip), ref.last) for ref in job.dataset.refs) == [(1, 0)] * 3 + [(6, 0), (6, 3), (6, 5)]
    assert results["rows"][0]["training_steps"] == 2 * 2 * 2  # two trainings of two epochs of four windows, two a batch
    assert opened(study_spec(flight), "flight").spec("flight") == flight.spec("flight")


def test_tables_and_pictures_read_well_without_published_figures(flight, results, tmp_path):
    written = write_tables(with_costs(results, flight.profile), tmp_path / "tables")
    text = written[2].read_text(encoding="utf-8")
    assert "### Test flight (own data;" in text and "Published:" not in text and "published mIoU" not in text
    assert write_progress_results([flight], ["flight"], SYSTEMS, tmp_path / "so far").startswith("Test flight: ")
    draw_videos(flight, "flight", SYSTEMS, ["flight"])
    names = {path.name for path in write_figures(flight, results, SYSTEMS, ["flight"], flight.figures)}
    assert {"flight_flicker.png", "flight_frontier.png", "flight_alpha.png", "flight_per_class_iou.png"} <= names
    assert write_seeds([flight], SYSTEMS, ["flight"], tmp_path)[0].name == "seeds.json"
    explorer = systems_explorer(flight, "flight", ["Base", "SSP"])
    assert [len(clip.frames) for clip in explorer.clips] == [7]


def test_rows_without_any_score_are_dashes(flight, results, tmp_path):
    empty = dict.fromkeys(("miou", "tc", "tc_reference", "miou_moving"))
    per_class = ("per_class_iou", "per_class_tc")
    rows = [row | empty | {name: dict.fromkeys(row[name]) for name in per_class} for row in results["rows"]]
    found = with_costs(results | {"rows": rows}, flight.profile)
    assert "| – |" in document(found).to_markdown()
    names = {path.name for path in write_figures(flight, found, ["Base"], ["flight"], tmp_path)}
    assert "flight_frontier.png" in names and "flight_frontier_moving.png" not in names


@pytest.mark.slow
def test_stills_alone_train_and_score_everything(tmp_path):
    path = write_flight(tmp_path / "stills", {}, stills=3, validation=["still2"])
    study = Study.open("smoke", dataset=path, root=tmp_path / "data", overrides=QUICK)
    row = study.evaluate("SSP", "stills")
    assert row["miou"] is not None and row["tc"] is None and row["registration_fallback_rate"] == 0.0
    found = with_costs(study.results(["Base", "SSP"], ["stills"]), study.profile)
    assert "Test flight: Base mIoU" in write_progress_results([study], ["stills"], ["Base", "SSP"], tmp_path)
    draw_videos(study, "stills", ["Base", "SSP"], ["stills"])  # no picture of motion, and no error
    names = {file.name for file in write_figures(study, found, ["Base", "SSP"], ["stills"], study.figures)}
    assert "stills_training.png" in names and "stills_flicker.png" not in names
    with pytest.raises(ArtefactError, match="Test flight: stills alone, .*; add a video to its files"):
        example_film(study, "stills")
    with pytest.raises(ArtefactError, match="no validation video to explore"):
        systems_explorer(study, "stills", ["Base", "SSP"])
