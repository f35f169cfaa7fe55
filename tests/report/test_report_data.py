"""Pictures and shares of a prepared data set, the drift picture of notebook 10, and the tables that notebooks show."""

from __future__ import annotations

import pytest

from helpers.media import SIZE
from helpers.own import LABEL, describe, images, label_png, video
from sspcore.core.store import stage
from sspcore.data.clips import Clip, class_shares, load_clips, summary
from sspcore.data.datasets import RURALSCAPES
from sspcore.data.prepare import ClipRules, prepare_clips
from sspcore.report.data import label_density, label_gallery
from sspcore.report.figures import latency_bars, rollout_plot
from sspcore.study import notebook


@pytest.fixture
def splits(ruralscapes_release, tmp_path) -> dict[str, list[Clip]]:
    """One video each, every second frame of 21, labels on frames 0, 10 and 20: half forest, half road."""
    rules = ClipRules(frame_step=2, clip_length=6, min_clip_length=4)
    folder = stage("c", tmp_path / "clips", "k", lambda out: prepare_clips(ruralscapes_release, RURALSCAPES, rules, out))
    return {name: load_clips(folder, name) for name in ("train", "val")}


def test_class_shares_are_of_labelled_pixels(splits):
    shares = class_shares(splits["train"], RURALSCAPES, SIZE)
    assert set(shares) == set(RURALSCAPES.classes) and sum(shares.values()) == pytest.approx(1.0)
    assert shares["forest"] == shares["road"] == pytest.approx(0.5)
    clips = splits["train"]
    assert summary(clips) == {
        "sequences": 1, "clips": len(clips), "frames": sum(map(len, clips)),
        "labelled frames": sum(len(clip.labelled) for clip in clips),
    }
    assert class_shares([], RURALSCAPES, SIZE)["road"] == 0.0


def test_gallery_shows_a_labelled_frame_a_sequence_and_of_few_sequences_several(splits):
    clips = [*splits["train"], *splits["val"]]

    def shown(columns: int) -> list[str]:
        picture = label_gallery(clips, RURALSCAPES, SIZE, "both", columns)
        assert len(picture.axes) == 2 * len(titles := [axes.get_title() for axes in picture.axes if axes.get_title()])
        return titles

    assert shown(2) == shown(3) == ["DJI_0043, frame 20", "DJI_0051, frame 20"] and shown(1) == ["DJI_0043, frame 20"]
    assert shown(4) == [f"{name}, frame {number}" for name in ("DJI_0043", "DJI_0051") for number in (10, 20)]


def test_gallery_of_labelled_stills_shows_the_video_too_and_names_what_is_ignored(tmp_path):
    files = {"video": "{sequence}.mp4", "stills": "s/{still}.png", "still_labels": "l/{still}.png"}
    own = describe(tmp_path / "own", files, labels={"road": 0, "car": 1, "c": 200}, label_classes={"c": None})
    video(own.root / "flight.mp4")
    images(own.root / "s", range(5))
    for path in (own.root / "s").iterdir():
        label = LABEL.copy()
        label[:4] = 200
        label_png(own.root / "l" / path.name, label)
    rules = ClipRules(frame_step=1, clip_length=6, min_clip_length=4, require_label=False)
    folder = stage("c", tmp_path / "clips", "k", lambda out: prepare_clips(own.root, own, rules, out))
    picture = label_gallery(load_clips(folder, "train"), own, SIZE, "both")
    titles = [axes.get_title() for axes in picture.axes if axes.get_title()]
    assert len(titles) == 4 and [title.startswith("flight, ") for title in titles] == [False, False, False, True]
    assert "no label" in [text.get_text() for text in picture.axes[-1].texts]
    assert "ignored" in [text.get_text() for text in picture.legends[0].get_texts()]


def test_density_marks_labelled_frames_and_draws_shares_of_both_splits(splits):
    left, right = label_density(splits, RURALSCAPES, SIZE).axes
    mask = left.images[0].get_array()
    clips = [*splits["train"], *splits["val"]]
    assert [[k for k in range(mask.shape[1]) if row[k] == 1.0] for row in mask] == [list(clip.labelled) for clip in clips]
    heights = [bar.get_height() for bar in right.containers[0]]
    assert [text.get_text() for text in left.get_legend().get_texts()] == ["labelled", "not labelled"]
    assert max(heights) == pytest.approx(50) and sum(heights) == pytest.approx(100)


def test_drift_is_drawn_in_percent_of_pixels_and_survives_no_difference():
    rows = [{"frame": k, "identical": 1 - k / 100, "logits_max_difference": 0.0} for k in range(3)]
    left, right = rollout_plot({"onnx": rows}, "drift").axes
    assert left.lines[0].get_ydata() == pytest.approx([0, 1, 2]) and min(right.lines[0].get_ydata()) > 0


def test_latency_bars_read_from_top_to_bottom():
    (axes,) = latency_bars({"encoder": 30.0, "warps": 2.0}, "parts").axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["warps", "encoder"]
    assert [bar.get_width() for bar in axes.containers[0]] == [2.0, 30.0]


def test_tables_of_notebooks_escape_and_leave_gaps_visible(monkeypatch):
    shown = []
    monkeypatch.setattr(notebook, "display", lambda bundle, raw: shown.append(bundle))
    long = " ".join(["word"] * 20)
    notebook.show_table({"a<b": {"alpha": 0.123456, "mIoU (%)": 55.5555, "n": 3}, "c": {"n": None, "new": f"x&y {long}"}})
    page, text = shown[0]["text/html"], shown[0]["text/plain"]
    assert "a&lt;b" in page and f"x&amp;y {long}" in page and "<td>0.1235</td><td>55.6</td><td>3</td><td>–</td>" in page
    assert f"<td>–</td><td>–</td><td>–</td><td>x&amp;y {long}</td>" in page
    notebook.show_table({})
    assert shown[1] == {"text/plain": "nothing to show"}
    assert text.splitlines()[1].split() == ["a<b", "0.1235", "55.6", "3", "–"] and long in text
