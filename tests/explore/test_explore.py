"""The explorers: panels against what is known of a panning camera, with and without a browser."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from helpers.media import SIZE, panning_frames, write_rgb
from sspcore import explore
from sspcore.data.clips import Clip, FrameCache
from sspcore.data.datasets import UAVID
from sspcore.data.truth import write_flow_png
from sspcore.explore import MotionClip, PairExplorer, SegmentedClip, SystemsExplorer, pair_explorer, systems_explorer
from sspcore.explore.live import Live
from sspcore.explore.panels import NOTHING, Panel, Scale, contact_sheet, encode
from sspcore.explore.systems import BOTH_RIGHT, LEFT, Curves
from sspcore.metrics import FrameRecord, MetricSuite
from sspcore.motion.registration import build_registrator
from sspcore.report.style import figure

PAN, N = 2, 8
HEIGHT, WIDTH = SIZE


class Pan:
    """Flow of `panning_frames` from any frame to any other, too long by `off` pixels on the way forward."""

    def __init__(self, off: float = 0.0) -> None:
        self.off = off

    def between(self, clip: Clip, source: int, target: int) -> torch.Tensor:
        flow = torch.zeros(2, *SIZE)
        flow[0] = PAN * (source - target) - (self.off if target > source else 0)
        return flow


class Study:
    """The little that explorers ask of a study: one clip of a panning camera, a perfect system and one that blinks."""

    profile = SimpleNamespace(input_size=SIZE, flow="dis-fast", metric_flow="dis-fast", registration="lk")
    data_origin, registrator = "panning camera", build_registrator("lk")

    def __init__(self, folder: Path, exact: bool) -> None:
        self.folder, self.exact = folder, exact
        rng = np.random.default_rng(0)
        blocks = rng.integers(0, 8, (HEIGHT // 8, WIDTH // 8 + N), np.uint8)
        wide = np.kron(blocks, np.ones((8, 8), np.uint8))
        self.truth = [np.ascontiguousarray(wide[:, PAN * k:PAN * k + WIDTH]) for k in range(N)]
        for k, frame in enumerate(panning_frames(N, 0)):
            write_rgb(folder / "clip/frames" / f"{k:06d}.png", frame)
            write_rgb(folder / "clip/labels" / f"{k:06d}.png", self.truth[k])
            write_rgb(folder / "truth/seq16/labels" / f"{k:06d}.png", self.truth[k])
        columns = np.broadcast_to(np.arange(WIDTH), SIZE)
        content = {"size": SIZE, "frames": list(range(N)), "frame_step": 1, "seed": 0, "H_prev_to_cur": {}}
        (folder / "truth/seq16/truth.json").write_text(json.dumps(content))
        for name, shift in (("flow_backward", PAN), ("flow_forward", -PAN)):
            (folder / "truth/seq16" / name).mkdir()
            for k in range(N):
                flow = np.stack([np.full(SIZE, shift, np.float32), np.zeros(SIZE, np.float32)])
                inside = (columns + shift >= 0) & (columns + shift < WIDTH)
                hidden = np.zeros(SIZE, bool)
                hidden[30, 40] = (name, k) == ("flow_backward", 4)
                write_flow_png(folder / "truth/seq16" / name / f"{k:06d}.png", flow, inside, hidden)

    def clips(self, dataset: str, split: str) -> list[Clip]:
        cache = FrameCache(8)
        made = Clip(self.folder / "clip", UAVID, split, "seq16", tuple(range(N)), (0, 4), SIZE, ".png", "area", cache)
        return [made, replace(made, numbers=tuple(range(N - 3)))]

    def spec(self, dataset: str):
        return UAVID

    def truth_root(self, dataset: str) -> Path | None:
        return self.folder / "truth" if self.exact else None

    def flows(self, dataset: str, name: str | None = None) -> Pan:
        return Pan(off=1.0 if name == "dis-medium" else 0.0)

    def label_maps(self, name: str, dataset: str, clip: Clip) -> list[np.ndarray]:
        labels = [truth.copy() for truth in self.truth[: len(clip)]]
        if name == "Base":
            labels[4][:8, 20:28] = (labels[4][:8, 20:28] + 1) % 8
        return labels

    def segment(self, name: str, dataset: str, clip: Clip) -> list[SimpleNamespace]:
        alphas = [torch.full((1, 1, *SIZE), k / 10) for k in range(len(clip))]
        return [SimpleNamespace(state=SimpleNamespace(alpha=alpha)) for alpha in alphas]


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Study:
    return Study(tmp_path_factory.mktemp("explore"), exact=True)


@pytest.fixture(scope="module")
def pair(study) -> PairExplorer:
    return pair_explorer(study, "uavid")


@pytest.fixture(scope="module")
def systems(study) -> SystemsExplorer:
    return systems_explorer(study, "uavid", ["Base", "KD-SSP"])


def chosen(frame: int, gap: int = 1, estimator: str = "exact", **more: float) -> dict[str, object]:
    """A choice of notebook 02."""
    return {"clip": 0, "frame": frame, "gap": gap, "estimator": estimator, "c1": 0.01, "c2": 0.5} | more


def panel(panels: list[Panel], start: str) -> Panel:
    return next(one for one in panels if one.title.startswith(start))


# ---------------------------------------------------------------- two frames


def test_exact_motion_of_a_pan_is_closed_but_for_the_edge(pair):
    view = pair.view(**chosen(3))
    edge = np.arange(WIDTH) >= WIDTH - PAN
    assert (view.flow_to_prev[0] == PAN).all() and (view.flow_to_prev[1] == 0).all()
    assert np.array_equal(view.valid, np.broadcast_to(~edge, SIZE))
    assert np.array_equal(view.warped[view.valid], view.current[view.valid])
    assert np.allclose(view.soft[view.valid], 1) and (view.soft[~view.valid] == 0).all()
    assert np.array_equal(view.occluded, view.exact_occlusion) and np.array_equal(view.occluded, ~view.valid)
    assert "precision 1.00, recall 1.00" in panel(pair.panels(**chosen(3)), "hard mask").note
    assert view.registration.ok and np.abs(view.flow_of_H[0] - PAN).max() < 0.2


def test_a_composed_exact_flow_ends_where_the_point_is_hidden(pair):
    view = pair.view(**chosen(5, 3))
    flow = view.flow_to_prev[0].numpy()
    unknown = np.zeros(SIZE, bool)
    unknown[:, WIDTH - 2 * PAN:] = True  # outside the view before the last step
    unknown[30, 40 - PAN] = True  # from frame 5 into frame 4 at (40, 30), which frame 3 hides
    assert np.array_equal(np.isnan(flow), unknown) and (flow[~unknown] == 3 * PAN).all()
    assert not view.valid[unknown].any() and view.occluded[unknown].all()
    assert view.exact_occlusion is None
    panels = pair.panels(**chosen(5, 3))
    assert "take gap 1" in panel(panels, "exact").note and "hidden on the way" in panel(panels, "flow k").note
    assert (panel(panels, "flow k").image[30, 40 - PAN] == NOTHING).all()


def test_the_constants_move_the_hard_mask(pair):
    choice = chosen(3, estimator="dis-medium")  # one pixel off: 1 against c1 (4 + 9) + c2
    inside = np.s_[:, : WIDTH - PAN]
    assert pair.view(**choice).occluded[inside].all()
    assert not pair.view(**choice | {"c2": 0.9}).occluded[inside].any()
    assert not pair.view(**choice | {"c1": 0.05}).occluded[inside].any()


def test_values_of_a_pixel_in_both_frames(pair):
    view = pair.view(**chosen(3))
    values = dict(pair.values(10, 20, **chosen(3)))
    assert values["RGB in frame k"] == ", ".join(map(str, view.current[20, 10])) == values["RGB in frame k−1, where flow leads"]
    assert values["RGB in frame k−1, same pixel"] == ", ".join(map(str, view.previous[20, 10]))
    assert values["flow"] == "(+2.00, +0.00) px" and values["flow back, read there"] == "(-2.00, +0.00) px"
    assert values["M_occ says"] == values["truth says"] == "visible" and values["O"] == "1.000"
    outside = dict(pair.values(WIDTH - 1, 20, **chosen(3)))
    assert outside["RGB in frame k−1, where flow leads"] == "no source" and outside["truth says"] == "occluded"


@pytest.mark.parametrize(("frame", "gap"), [(0, 1), (2, 3), (N, 1), (3, 0)])
def test_frames_outside_the_clip_are_refused(pair, frame, gap):
    with pytest.raises(ValueError, match="in order"):
        pair.view(**chosen(frame, gap))


def test_without_truth_there_is_no_exact_estimator(study):
    real = pair_explorer(Study(study.folder.parent / "real", exact=False), "uavid")
    assert "exact" not in real.clips[0].flows and real.first()["estimator"] == "dis-fast"
    note = panel(real.panels(**real.first()), "exact").note
    assert note == "no exact truth for real data"


def test_every_panel_can_be_sent_and_drawn(pair, systems):
    for panels in (pair.panels(**pair.first()), systems.panels(**systems.first())):
        for one in panels:
            assert one.image.dtype == np.uint8 and one.image.ndim == 3
            decoded = cv2.imdecode(np.frombuffer(encode(one), np.uint8), cv2.IMREAD_COLOR)
            assert decoded.shape == one.image.shape and np.abs(decoded[..., ::-1].astype(int) - one.image).mean() < 4
        drawn = [axes.get_title().split("\n")[0] for axes in contact_sheet(panels, 3, "t").axes if axes.get_title()]
        assert drawn == [one.title for one in panels]


def test_paint_runs_from_low_to_high_and_leaves_the_unknown_grey():
    image = Scale("viridis", 0, 2).paint(np.array([[0.0, 2.0, 9.0, np.nan]]))
    assert image[0, 0].tolist() == [68, 1, 84] and image[0, 1].tolist() == image[0, 2].tolist() == [253, 231, 36]
    assert np.array_equal(image[0, 3], NOTHING)


# --------------------------------------------------------------- two systems


def test_tc_by_frame_is_the_metric_taken_apart(study, systems):
    track, clip, flow = systems.track(0, "Base"), study.clips("uavid", "val")[0], Pan()
    suite = MetricSuite(UAVID.n_classes, ("tc",))
    suite.start_clip()
    for k, labels in enumerate(track.labels):
        suite.update(FrameRecord(labels, flow_to_next=flow.between(clip, k, k + 1) if k + 1 < N else None))
    assert np.isnan(track.tc[0]) and np.nanmean(track.tc) == pytest.approx(suite.compute()["tc"])
    assert (track.tc[[4, 5]] < 1).all() and (track.tc[[1, 2, 3, 6, 7]] == 1).all()


def test_what_blinks_is_marked_and_costs_accuracy(systems):
    track = systems.track(0, "Base")
    assert [int(mask.sum()) for mask in track.flicker] == [0, 0, 0, 0, 64, 64, 0, 0]
    assert track.flicker[4][:8, 20:28].all() and track.flicker[5][:8, 20 - PAN:28 - PAN].all()
    assert track.miou[4] < 1 and track.miou[3] == 1 and (systems.track(0, "KD-SSP").miou == 1).all()
    assert track.alpha is None and systems.track(0, "KD-SSP").alpha[3][0, 0] == pytest.approx(0.3, abs=1e-3)


def test_who_is_right_is_shown_in_colours(systems):
    shown = panel(systems.panels(0, 4, "KD-SSP", "Base"), "who is right")
    assert (shown.image[:8, 20:28] == [0, 114, 178]).all() and LEFT == "#0072B2"
    assert (shown.image[8:] == BOTH_RIGHT).all() and "only KD-SSP, 1.0 %" in shown.note


def test_without_dense_truth_only_labelled_frames_are_scored(study):
    real = systems_explorer(Study(study.folder.parent / "sparse", exact=False), "uavid", ["Base", "KD-SSP"])
    assert np.flatnonzero(~np.isnan(real.track(0, "Base").miou)).tolist() == [0, 4]
    panels = real.panels(0, 5, "Base", "KD-SSP")
    assert "no label" in panel(panels, "truth").note and panel(panels, "where they differ").note == "0.0 % of pixels"


def test_curves_follow_the_frame_and_a_click_finds_it(systems):
    curves = systems.curves(0, "Base", "KD-SSP")
    for frame in (0, 3, N - 1):
        changed = (curves.with_cursor(frame) != curves.image).any(axis=(0, 2))
        assert set(np.flatnonzero(changed)) <= {c + d for c in curves.columns[:, frame].tolist() for d in (-1, 0)}
        assert changed.any()
        for column in curves.columns[:, frame]:
            assert curves.frame_at(column / curves.image.shape[1]) == frame


def test_values_of_a_pixel_in_both_systems(systems):
    rows = systems.values(22, 3, 0, 4, "Base", "KD-SSP")
    assert ("", "changed along the flow") in rows and dict(rows)["KD-SSP: alpha"] == "0.400"
    assert dict(rows)["truth"] == dict(rows)["KD-SSP"] != dict(rows)["Base"]


# -------------------------------------------------------- frames of one's own


def test_own_frames_need_no_study(study):
    frames = np.stack(panning_frames(N, 0))
    explorer = PairExplorer([MotionClip.of_frames("mine", frames)], "my video")
    view = explorer.view(**explorer.first() | {"frame": 3})
    assert abs(float(view.flow_to_prev[0].median()) - PAN) < 0.3 and explorer.first()["estimator"] == "dis-fast"
    assert panel(explorer.panels(**explorer.first()), "exact").note == "no exact truth for real data"


def test_curves_without_any_label_say_so_in_place_of_an_empty_axis(monkeypatch):
    drawn = []
    monkeypatch.setattr("sspcore.explore.systems.figure", lambda *shape: drawn.append(figure(*shape)) or drawn[-1])
    for miou in ([np.nan] * 3, [np.nan, 0.5, np.nan]):
        Curves({"A": SimpleNamespace(tc=np.array([np.nan, 0.9, 0.8]), miou=np.array(miou), labels=[None] * 3)})
    assert [[text.get_text() for text in axes[1].texts] for _, axes in drawn] == [["no labels here"], []]


def test_own_labels_need_no_study(study):
    blinking = study.label_maps("Base", "uavid", study.truth)
    alpha = np.full((N, *SIZE), 0.25, np.float32)
    clip = SegmentedClip.of_arrays(
        "mine", panning_frames(N, 0), {"A": blinking, "B": study.truth}, {"B": alpha}, truth=[study.truth[0], *[None] * (N - 1)]
    )
    explorer = SystemsExplorer([clip], UAVID, ["A", "B"], "my video")
    assert dict(explorer.values(5, 5, 0, 4, "A", "B"))["B: alpha"] == "0.250"
    assert np.flatnonzero(~np.isnan(explorer.track(0, "A").miou)).tolist() == [0]
    assert explorer.track(0, "A").flicker[4][:8, 20:28].mean() > 0.9
    first = explorer.first()
    assert first["frame"] == 0, "the frame with a label, not the middle one"
    assert [one.title for one in explorer.panels(**first | {"frame": 4})][2] == "where they differ"
    assert explorer.panels(**first)[2].title.startswith("who is right")


# ------------------------------------------------------------------- controls


def test_outside_a_notebook_and_under_papermill_no_person_is_assumed(monkeypatch):
    assert not explore.is_interactive()
    for asked, there in (({"allow_stdin": True}, True), ({"allow_stdin": False}, False), ({}, False)):
        shell = SimpleNamespace(get_parent=lambda content=asked: {"content": content})
        monkeypatch.setattr(explore, "get_ipython", lambda shell=shell: shell)
        assert explore.is_interactive() is there


def test_without_a_browser_the_same_panels_are_one_picture(study, monkeypatch):
    shown = []
    monkeypatch.setattr(explore, "display", shown.append)
    explore.explore_motion(study, ["uavid"])
    explore.explore_systems(study, ["uavid"], ["Base", "KD-SSP"])
    titles = [{axes.get_title().split("\n")[0] for axes in picture.axes} for picture in shown]
    assert "soft mask O" in titles[0] and "KD-SSP: alpha" in titles[1]


def test_with_a_browser_the_picture_is_kept_beside_the_sliders(pair, monkeypatch):
    shown = []
    monkeypatch.setattr(explore, "display", lambda bundle, raw: shown.append(bundle))
    monkeypatch.setattr(explore, "is_interactive", lambda: True)
    explore.explore({"uavid": lambda: pair})
    assert shown[0]["image/png"].startswith("iVBOR") and "application/vnd.jupyter.widget-view+json" in shown[0]


def test_play_begins_where_the_clip_does_and_a_lone_clip_has_no_slider(study, systems):
    live = Live({"uavid": lambda: systems})
    assert live.play.value == live.controls["frame"].value == N // 2  # the browser gives the slider what play has
    assert live.clip.layout.display is None
    alone = SystemsExplorer(systems.clips[:1], UAVID, ["Base", "KD-SSP"], "one clip")
    assert Live({"uavid": lambda: alone}).clip.layout.display == "none"


@pytest.fixture
def live(study):
    return Live({name: partial(pair_explorer, study, name) for name in ("uavid", "ruralscapes")})


def test_one_change_of_a_slider_is_one_new_picture(live):
    stage, before = live.stage, live.stage.images
    frame, gap = live.controls["frame"], live.controls["gap"]
    frame.value += 1
    assert stage.version == 2 and len(stage.images) == 12 and stage.images[0] != before[0]
    gap.value = 3
    assert stage.version == 3 and frame.min == 3 and frame.value == 5
    live.controls["c2"].value = 1.0
    assert stage.version == 4 and live.choice() == chosen(5, 3, "dis-fast", c2=1.0)
    live.clip.value = 1  # of five frames
    assert stage.version == 5 and frame.max == N - 4 == frame.value and gap.max == 4
    live.dataset.value = "ruralscapes"
    assert stage.version == 6 and live.clip.value == 0 and frame.max == N - 1


def test_a_click_shows_values_until_the_next_one(live):
    live.stage.clicked = {"panel": 0, "x": 10.5 / WIDTH, "y": 20.5 / HEIGHT, "number": 1}
    assert "Pixel (10, 20) of this frame" in live.stage.details and live.stage.mark == [10.5 / WIDTH, 20.5 / HEIGHT]
    live.controls["frame"].value += 1
    assert "Pixel (10, 20)" in live.stage.details
    live.stage.clicked = {"panel": 4, "x": 1.0, "y": 1.0, "number": 2}
    assert f"Pixel ({WIDTH - 1}, {HEIGHT - 1})" in live.stage.details


def test_a_click_on_the_curves_goes_to_that_frame(study, systems):
    live = Live({"uavid": lambda: systems})
    curves = systems.curves(0, live.controls["left"].value, live.controls["right"].value)
    live.stage.clicked = {"panel": 9, "x": float(curves.columns[1, 6] / curves.image.shape[1]), "y": 0.5, "number": 1}
    assert live.controls["frame"].value == 6 and live.pixel is None and live.stage.version == 2
    live.controls["left"].value = "KD-SSP"
    assert live.stage.version == 3 and live.stage.panels[3]["title"] == "KD-SSP: labels"


def test_an_error_is_shown_and_the_picture_stays(live, monkeypatch):
    from sspcore.core.errors import WeightsError

    def fail(**choice):
        raise WeightsError("raft.pth is missing")

    monkeypatch.setattr(live.explorer, "panels", fail)
    live.controls["frame"].value += 1
    assert "raft.pth is missing" in live.status.value and live.stage.version == 1
