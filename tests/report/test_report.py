"""Pictures: drawn from data alone, written as PNG and PDF, the same bytes for the same input."""

from __future__ import annotations

import hashlib
import math
from io import BytesIO
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox
from PIL import Image

from helpers.media import SIZE, panning_frames
from helpers.tables import row
from sspcore.data.datasets import SPECS, UAVID
from sspcore.motion.registration import build_registrator
from sspcore.report import collect, figures, motion, pictures
from sspcore.report.style import WIDEST_IMAGE, figure, footnote, legend_below, origin_line, save, save_set, show_image


def test_flicker_is_change_along_the_flow_and_not_motion():
    labels = np.tile(np.arange(SIZE[1]) // 8 % 3, (SIZE[0], 1)).astype(np.uint8)
    moved, flow = np.roll(labels, -2, axis=1), np.zeros((2, *SIZE), np.float32)
    flow[0] = 2
    assert figures.flicker_mask(moved, labels, flow)[:, :-2].sum() == 0
    moved[10, 10] = 7
    changed = figures.flicker_mask(moved, labels, flow)[:, :-2]
    assert changed.sum() == 1 and changed[10, 10]


def test_the_colour_of_flicker_is_far_from_every_class():
    for spec in SPECS.values():
        gaps = np.linalg.norm(np.array(spec.palette, float) - figures.FLICKER, axis=1)
        assert gaps.min() > 110, spec.classes[int(gaps.argmin())]


def test_consecutive_strip_paints_flicker_and_leaves_the_prediction_alone():
    rng = np.random.default_rng(0)
    labels = [rng.integers(0, 8, SIZE).astype(np.uint8) for _ in range(3)]
    kept = [label.copy() for label in labels]
    picture = figures.consecutive_strip(
        panning_frames(3, 0), {"Base": labels}, [np.zeros((2, *SIZE), np.float32)] * 2, [None, None, labels[2]], UAVID, "t"
    )
    shown = [axes.images[0].get_array() for axes in picture.axes if axes.images]
    assert len(shown) == 6  # frame, truth and Base for two frames
    assert (shown[-1] == figures.FLICKER).all(-1).mean() == pytest.approx((labels[2] != labels[1]).mean())
    assert all(np.array_equal(a, b) for a, b in zip(labels, kept, strict=True))


def test_training_curves_have_a_panel_per_loss():
    systems = [f"S{k}" for k in range(14)]
    drawn = figures.training_curves({name: [{"ce": 1.0}] for name in systems}, "t").axes[0].lines
    assert len({(line.get_color(), line.get_linestyle()) for line in drawn}) == 14
    assert {line.get_marker() for line in drawn} == {"o"}  # a line of one point is not seen
    history = [{"ce": 1.0, "tc": 0.5, "total": 1.25, "lr": 1e-3, "seconds": 1.0}] * 2
    base = [{"ce": 1.0, "total": 1.0, "lr": 1, "seconds": 1}]
    assert len(figures.training_curves({"SSP": history, "Base": base}, "t").axes) == 2
    apart = figures.training_curves({"SSP": history, "Base (start)": base, "Base": base}, "t", ["SSP", "Base"]).axes
    assert [{line.get_label() for line in axes.lines} for axes in apart] == [{"Base (start)"}, {"SSP", "Base"}, {"SSP"}]
    assert [axes.get_title() for axes in apart] == [*figures.FROM, ""] and {axes.get_yscale() for axes in apart} == {"log"}


def test_the_training_picture_has_what_systems_start_from_where_that_is_there(monkeypatch):
    made = ["Base (start)"]
    monkeypatch.setattr(
        pictures.places, "training", lambda study, name, dataset: SimpleNamespace(is_made=lambda: name in made)
    )
    study = SimpleNamespace(
        profile=SimpleNamespace(equal_steps=True), spec=lambda name: UAVID, history=lambda name, dataset: [{"ce": 1.0}] * 3,
    )
    start, later = pictures.training_picture(study, "uavid", ["Base", "SSP"]).axes
    assert [line.get_label() for line in start.lines] == ["Base (start)"]
    assert [line.get_label() for line in later.lines] == ["Base", "SSP"]
    made.clear()
    (alone,) = pictures.training_picture(study, "uavid", ["Base", "SSP"]).axes
    assert len(alone.lines) == 2


def test_frames_on_an_axis_are_whole_numbers():
    rows = [{"frame": k, "identical": 1.0, "logits_max_difference": 1e-6} for k in range(1, 10)]
    for axes in figures.rollout_plot({"shifting camera": rows}, "t").axes:
        assert all(float(tick).is_integer() for tick in axes.get_xticks())


def test_pictures_are_written_twice_alike(tmp_path):
    rows = [row("Base", "image", 0.6, 0.7), row("SSP", "video", 0.62, 0.85)]
    digests = []
    for name in ("a", "b"):
        save(figures.per_class(rows, "t"), tmp_path / name, "p")
        digests.append([hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted((tmp_path / name).iterdir())])
    assert digests[0] == digests[1] and len(digests[0]) == 2


ORIGIN = {"commit": "abc", "profile": "smoke", "seed": 3, "data": "rendered data, not the real data set"}


def test_pictures_carry_their_provenance(tmp_path):
    picture = figures.per_class([row("Base", "image", 0.6, 0.7)], "t")
    plain = Image.open(save(picture, tmp_path, "plain"))
    image = Image.open(save(picture, tmp_path, "p", ORIGIN))
    assert image.text["sspcore.commit"] == "abc" and image.text["sspcore.seed"] == "3"
    assert image.text["Description"] == "Rendered data, not the real data set; profile smoke, seed 3, commit abc."
    changed = origin_line(ORIGIN | {"commit": "abc+"})
    assert changed.endswith("commit abc+ (+: with changes that were not committed).")
    assert image.size[0] == plain.size[0] and image.size[1] > plain.size[1]  # a footnote below, nothing moved
    note = np.asarray(image.convert("L"))[plain.size[1] + 2:]
    assert (note < 128).any() and "Description" not in plain.text
    assert b"commit=abc" in (tmp_path / "p.pdf").read_bytes()
    save(picture, tmp_path, "p", ORIGIN | {"seeds": [0, 1]})
    assert len([text for text in picture.texts if "commit" in text.get_text()]) == 1


def test_a_legend_keeps_off_the_footnote_on_the_larger_page_of_a_notebook():
    picture, axes = figure(4, 3)
    axes.set_axis_off()
    legend_below(picture, [Line2D([], [], label=name) for name in ("one", "two", "three", "four")], 2)
    note = footnote(picture, "note").texts[0]
    inked = {}
    for shown, other in ((picture.legends[0], note), (note, picture.legends[0])):
        shown.set_visible(True)
        other.set_visible(False)
        page = BytesIO()
        picture.savefig(page, bbox_inches=Bbox([[0, -0.5], [4, 3]]))
        inked[shown] = np.flatnonzero((np.asarray(Image.open(page).convert("L")) < 128).any(axis=1))
    assert inked[picture.legends[0]].max() < inked[note].min()


def test_only_pictures_of_the_same_set_are_removed(tmp_path):
    for name in ("uavid_alpha.png", "uavid_alpha.pdf", "uavid_alpha.txt", "uavid_alpha_mine.png", "mine.png"):
        (tmp_path / name).touch()
    (tmp_path / "uavid_controls_exact.png").touch()
    written = save_set({"uavid_frontier": figure(2, 2)[0]}, tmp_path, ORIGIN, ("alpha", "frontier", "controls_*"), ())
    assert [path.name for path in written] == ["uavid_frontier.png"]
    kept = ["mine.png", "uavid_alpha.txt", "uavid_alpha_mine.png", "uavid_frontier.pdf", "uavid_frontier.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == kept


def test_the_picture_set_leaves_out_what_cannot_be_drawn_and_removes_what_is_stale(tmp_path, monkeypatch):
    """Of a run without Base, without moving classes and without RuralScapes."""
    monkeypatch.setattr(pictures, "flicker_picture", lambda study, dataset, systems: figure(2, 2)[0])
    monkeypatch.setattr(pictures, "drift_picture", lambda *_: None)
    study = SimpleNamespace(
        seed=3, began=math.inf, spec=lambda name: UAVID, history=lambda *_: [{"ce": 1.0}],
        profile=SimpleNamespace(equal_steps=False),
    )
    monkeypatch.setattr(pictures.places, "training", lambda *_: SimpleNamespace(is_made=lambda: False))
    rows = [row("TCB_ocr", "video", 0.6, 0.7) | {"miou_moving": None}, row("Constant alpha 0.5", "control", 0.6, 0.8)]
    rows[1]["miou_moving"] = None
    for name in ("ruralscapes_frontier.png", "uavid_alpha.pdf", "uavid_frontier_all.png"):
        (tmp_path / name).touch()
    written = pictures.write_figures(study, {"provenance": ORIGIN, "rows": rows}, ["TCB_ocr"], ["uavid"], tmp_path)
    names = ("flicker", "frontier", "per_class_iou", "per_class_tc", "training")
    assert {path.stem for path in written} == {f"uavid_{name}" for name in names}
    assert not (tmp_path / "ruralscapes_frontier.png").exists() and not (tmp_path / "uavid_alpha.pdf").exists()
    assert (tmp_path / "uavid_frontier_all.png").exists()  # another program's
    study.began = 0.0  # a run that has drawn them already: those of videos stay as they are
    monkeypatch.setattr(pictures, "flicker_picture", lambda *_: pytest.fail("drawn again"))
    again = pictures.write_figures(study, {"provenance": ORIGIN, "rows": rows}, ["TCB_ocr"], ["uavid"], tmp_path)
    assert again == written and all(path.is_file() for path in again)


def test_images_keep_their_pixels_in_pdfs_of_bounded_size(tmp_path):
    """Labels must not blend where a panel is larger than its image; images of a large release are thinned."""
    picture, axes = figure(4, 4)
    rng = np.random.default_rng(0)
    show_image(axes, np.where(rng.random((16, 16, 1)) < 0.5, 255, 0).repeat(3, -1).astype(np.uint8))
    shown = np.asarray(Image.open(save(picture, tmp_path, "p")).convert("L"))
    assert set(np.unique(shown)) <= {0, 255}
    drawn = show_image(figure(4, 4)[1], np.zeros((720, 1280, 3), np.uint8))
    assert drawn.get_array().shape == (360, WIDEST_IMAGE, 3)


def test_pictures_full_of_images_have_fewer_dots(tmp_path):
    widths = []
    for n in (2, 5):
        picture, axes = figure(4, 4, n, n)
        for cell in axes.flat:
            show_image(cell, np.zeros((4, 4, 3), np.uint8))
        widths.append(Image.open(save(picture, tmp_path, "p")).size[0])
    assert widths == [640, 480]


def test_only_systems_that_learned_from_fused_labels_have_some():
    study = SimpleNamespace(profile=SimpleNamespace(fuse_teacher=True))
    assert collect.fuses(study, ["Base", "KD-SSP"]) and not collect.fuses(study, ["SSP", "KD Base"])
    study.profile.fuse_teacher = False
    assert not collect.fuses(study, ["KD-SSP"])


def test_strips_show_systems_that_tell_most():
    assert collect.strip_systems(["Teacher", "Base", "DFF", "TCB_ocr", "SSP"]) == ["Base", "TCB_ocr", "SSP"]
    assert collect.strip_systems(["DFF", "TCB_ppm"]) == ["DFF", "TCB_ppm"]
    assert collect.learned_alpha(["Base", "KD-SSP", "SSP"]) == "KD-SSP" and collect.learned_alpha(["Base"]) is None


def test_motion_panels_state_precision_and_recall():
    previous, current = panning_frames(2, 0)
    flow = torch.zeros(2, *SIZE)
    flow[0] = 2.0
    exact = np.zeros(SIZE, bool)
    exact[:, -2:] = True  # what leaves the view on the right
    titles = [axes.get_title() for axes in motion.occlusion_panels(current, flow, -flow, exact).axes]
    assert "precision 1.00, recall 1.00" in titles[1]
    warps = motion.warp_panels(previous, current, flow)
    difference = next(axes for axes in warps.axes if axes.get_title().startswith("difference"))
    blank = np.ma.getmaskarray(np.ma.masked_invalid(difference.images[0].get_array()))
    assert blank[:, -2:].all() and not blank[:, :-2].any() and len(warps.axes) >= 6  # no past on the right
    registration = build_registrator("lk")(previous, current)
    assert f"{registration.inliers} inliers" in motion.registration_panels(previous, current, registration).axes[0].get_title()


def test_precision_and_recall_of_known_masks():
    mask, truth = np.zeros((2, 4), bool), np.zeros((2, 4), bool)
    mask[0], truth[:, 0] = True, True
    assert motion.precision_recall(mask, truth) == (0.25, 0.5)


def test_streams_by_position_are_told_apart_without_colour_too():
    known = {"miou": np.array([0.5, 0.6]), "changed": np.array([np.nan, 0.1])}
    streams = dict.fromkeys(("Base", "SSP", "Constant alpha 0.5", "Constant alpha 0.9", "SSP, started again"), known)
    above, below = figures.drift_plot(streams, ["Constant alpha 0.5", "Constant alpha 0.9"], "t").axes
    assert len({line.get_color() for line in below.lines}) == 5 and len({line.get_linestyle() for line in below.lines}) == 4
    assert above.lines[1].get_ydata().tolist() == [0, 0] and below.lines[1].get_xydata().tolist() == [[1, 10]]
