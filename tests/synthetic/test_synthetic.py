"""The renderer: layouts, labels, exactness of flow, occlusion and homography, reproducibility."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import cv2
import numpy as np
import pytest

from sspcore.core import code
from sspcore.core.errors import ReleaseError
from sspcore.data.annotations import read_label_image
from sspcore.data.datasets import SPECS, UAVID, merge_vdd
from sspcore.data.truth import SequenceTruth
from sspcore.synthetic import ReleaseSettings, footage, release, render_release
from sspcore.synthetic.camera import ground_homography, line_kernel
from sspcore.synthetic.ground import MATERIAL_THINGS
from sspcore.synthetic.render import GROUND_PRIMITIVE, flow_between, render_view, wrap_centre
from sspcore.synthetic.world import make_world

SIZE = (96, 160)
SETTINGS = ReleaseSettings(size=SIZE, train_sequences=1, val_sequences=1, frames=4, frame_step=2, label_interval=2, fps=24)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw")
    for dataset in SPECS:
        render_release(dataset, SETTINGS, 3, folder, workers=1)
    return folder


@pytest.fixture(scope="module", params=["uavid", "ruralscapes"])
def views(request):
    world = make_world(np.random.SeedSequence(1), request.param == "ruralscapes", 0)
    wrap_x = wrap_centre(world, 1.0)
    return world, [render_view(world, t, 440.0, (288, 480), wrap_x) for t in (0.5, 0.5 + 1 / 12)]


def _digest(folder):
    return {p.relative_to(folder): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()}


def _rgb(path):
    return cv2.imread(str(path))[..., ::-1]


def _n_video_frames(path):
    video, count = cv2.VideoCapture(str(path)), 0
    while video.read()[0]:
        count += 1
    return count


def _sample(image, flow):
    rows, columns = np.mgrid[: flow.shape[1], : flow.shape[2]].astype(np.float32)
    return cv2.remap(image, columns + flow[0], rows + flow[1], cv2.INTER_LINEAR)


def test_layout_of_uavid(root):
    names = ["000000.png", "000004.png"]
    for split, name in (("train", "seq1"), ("val", "seq16")):
        base = root / "uavid" / f"uavid_{split}" / name
        assert sorted(p.name for p in (base / "Images").iterdir()) == names
        assert sorted(p.name for p in (base / "Labels").iterdir()) == names
        assert sorted(p.name for p in (root / "uavid/UAVid7" / f"uavid_{split}" / name / "VDD_Labels").iterdir()) == names
        assert _n_video_frames(base / "images.mp4") == 7
    assert sorted(p.name for p in root.iterdir()) == ["ruralscapes", "ruralscapes_truth", "uavid", "uavid_truth"]


def test_layout_of_ruralscapes(root):
    for name in ("DJI_0043", "DJI_0051"):
        assert _n_video_frames(root / "ruralscapes" / "videos" / f"{name}.mp4") == 7
        labels = sorted(p.name for p in (root / "ruralscapes/labels/manual_labels" / name).iterdir())
        assert labels == [f"segfull_{name}_000000.png", f"segfull_{name}_000004.png"]


def test_release_labels_agree_with_truth(root):
    base = root / "uavid/uavid_val/seq16"
    colours = _rgb(base / "Labels/000004.png")
    vdd = cv2.imread(str(root / "uavid/UAVid7/uavid_val/seq16/VDD_Labels/000004.png"), cv2.IMREAD_GRAYSCALE)
    clutter = (colours == UAVID.labels["clutter"]).all(-1)
    merged = merge_vdd(read_label_image(base / "Labels/000004.png", UAVID), clutter, vdd, UAVID)
    assert (merged == SequenceTruth(root / "uavid_truth/seq16").labels(4)).all()
    path = root / "ruralscapes/labels/manual_labels/DJI_0051/segfull_DJI_0051_000004.png"
    ids = read_label_image(path, SPECS["ruralscapes"])
    assert (ids == SequenceTruth(root / "ruralscapes_truth/DJI_0051").labels(4)).all()


@pytest.mark.parametrize("sequence", ["uavid_truth/seq1", "ruralscapes_truth/DJI_0043"])
def test_labels_follow_the_flow(root, sequence):
    truth = SequenceTruth(root / sequence)
    assert truth.frames == [0, 2, 4, 6]
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    for previous, current in zip(truth.frames, truth.frames[1:], strict=False):
        for a, b, read in ((current, previous, truth.flow_backward), (previous, current, truth.flow_forward)):
            flow, in_view, occluded = read(a)
            good = in_view & ~occluded
            assert good.mean() > 0.6
            # a point in view may lie up to half a pixel beyond the last centre
            y = np.clip(np.rint(rows + flow[1])[good].astype(int), 0, SIZE[0] - 1)
            x = np.clip(np.rint(columns + flow[0])[good].astype(int), 0, SIZE[1] - 1)
            assert (truth.labels(b)[y, x] == truth.labels(a)[good]).mean() > 0.97


def test_flow_there_and_back(views):
    world, (a, b) = views
    forward, _, hidden = flow_between(world, a, b)
    backward, _, hidden_back = flow_between(world, b, a)
    # balls and outlines bend the flow within a pixel: the median and a high quantile, on smooth pixels
    error = np.hypot(*(forward + np.stack([_sample(c, forward) for c in backward])))
    good = ~hidden & (_sample(hidden_back.astype(np.float32), forward) == 0)
    assert np.median(error[good]) < 0.02
    assert np.quantile(error[good], 0.9) < 0.5


def test_homography_is_the_flow_of_the_ground(views):
    world, (a, b) = views
    flow, _, _ = flow_between(world, a, b)
    matrix = ground_homography(a.camera, b.camera)
    y, x = np.nonzero((a.primitive == GROUND_PRIMITIVE) & (a.depth < 100))
    moved = np.column_stack([x, y, np.ones(len(x))]) @ matrix.T
    error = moved[:, :2] / moved[:, 2:] - np.stack([x + flow[0, y, x], y + flow[1, y, x]], 1)
    assert len(x) > 10_000 and np.abs(error).max() < 0.05


def test_exact_flow_matches_the_pictures_best(views):
    world, (a, b) = views
    flow, _, hidden = flow_between(world, b, a)

    # what moves drags its shadow over the ground, so only the middle of the errors counts
    def error(dx, dy):
        shifted = flow + np.array([dx, dy], np.float32)[:, None, None]
        return np.minimum(np.abs(_sample(a.image, shifted) - b.image).mean(-1), 40)[~hidden].mean()

    exact = error(0, 0)
    assert exact < 8
    for dx, dy in ((0.5, 0), (-0.5, 0), (0, 0.5), (0, -0.5)):
        assert error(dx, dy) > 1.08 * exact


def test_cars_and_people_move(views):
    world, (a, b) = views
    flow, _, _ = flow_between(world, a, b)
    matrix = ground_homography(a.camera, b.camera)
    moving = (a.primitive >= 0) & (world.object_movers[np.maximum(a.object_id, 0)] >= 0)
    y, x = np.nonzero(moving)
    still = np.column_stack([x, y, np.ones(len(x))]) @ matrix.T
    own = np.hypot(x + flow[0, y, x] - still[:, 0] / still[:, 2], y + flow[1, y, x] - still[:, 1] / still[:, 2])
    assert len(x) > 1000 and np.median(own) > 0.7


def test_every_thing_is_known():
    for dataset in ("uavid", "ruralscapes"):
        world = make_world(np.random.SeedSequence(2), dataset == "ruralscapes", 0)
        assert world.n_faces > 500 and (MATERIAL_THINGS[world.ground.materials] < 16).all()


@pytest.mark.parametrize("motion", [(0, 0), (3.3, -1.2), (-2.1, 0.4), (50, 50)])
def test_motion_blur_shifts_nothing(motion):
    kernel = line_kernel(motion)
    assert np.allclose(kernel, kernel[::-1, ::-1]) and kernel.sum() == pytest.approx(1)


def test_same_seed_same_bytes(root, tmp_path):
    render_release("uavid", SETTINGS, 3, tmp_path / "again", workers=2)
    assert _digest(tmp_path / "again" / "uavid") == _digest(root / "uavid")
    assert _digest(tmp_path / "again" / "uavid_truth") == _digest(root / "uavid_truth")


def test_complete_sequences_are_kept_and_broken_ones_rendered_again(root):
    before = _digest(root / "uavid")
    kept, broken = root / "uavid/uavid_val/seq16/images.mp4", root / "uavid_truth/seq1/truth.json"
    stamp = kept.stat().st_mtime_ns
    broken.unlink()
    render_release("uavid", SETTINGS, 3, root, workers=1)
    assert kept.stat().st_mtime_ns == stamp and broken.is_file()
    assert _digest(root / "uavid") == before


@pytest.mark.parametrize("name", [
    "uavid/uavid_train/seq1/images.mp4", "uavid/uavid_train/seq1/Labels/000000.png", "uavid_truth/seq1/labels/000000.png",
    "uavid_truth/seq1/truth.json",
])
def test_damaged_sequences_are_rendered_again(root, name):
    before, path = (_digest(root / "uavid"), _digest(root / "uavid_truth")), root / name
    (root / ".uavid_seq1_killed").mkdir()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data if path.suffix != ".json" else data[: len(data) // 2])
    render_release("uavid", SETTINGS, 3, root, workers=1)
    assert (_digest(root / "uavid"), _digest(root / "uavid_truth")) == before
    assert not (root / ".uavid_seq1_killed").exists()


def test_video_that_did_not_fit_onto_the_disk_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(footage, "count_frames", lambda video: 3)  # the writer says nothing of it
    with pytest.raises(ReleaseError, match="was not written as a whole; check the free space"):
        render_release("uavid", SETTINGS, 3, tmp_path, workers=1)
    assert not list(tmp_path.rglob("*.mp4"))


def test_too_many_validation_sequences(tmp_path):
    with pytest.raises(ReleaseError, match="has 7"):
        render_release("uavid", SETTINGS.model_copy(update={"val_sequences": 8}), 0, tmp_path)


def test_a_script_without_a_main_guard_ends_with_one_line_that_says_what_to_do(tmp_path):
    """Each worker imports the script, which would start workers again."""
    script = tmp_path / "script.py"
    script.write_text(
        "from sspcore.synthetic import ReleaseSettings, render_release\n"
        "settings = ReleaseSettings(size=(32, 64), train_sequences=1, val_sequences=1, frames=2, frame_step=1,"
        " label_interval=1, fps=12)\n"
        f"render_release('uavid', settings, 0, {str(tmp_path / 'out')!r}, workers=2)\n"
    )
    ended = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert ended.returncode != 0
    assert 'below `if __name__ == "__main__":`' in ended.stderr.strip().splitlines()[-1]
    assert ended.stderr.count("Traceback") < 10 and not (tmp_path / "out" / "uavid").exists()


def test_a_changed_line_of_the_renderer_renders_again_and_a_changed_docstring_does_not(monkeypatch):
    def key(module, old, new):
        real = code.source
        assert old in real(module)
        with monkeypatch.context() as patch:
            patch.setattr(code, "source", lambda name: real(name).replace(old, new) if name == module else real(name))
            code.code_key.cache_clear()
            found = release.release_key("uavid", SETTINGS, 3)
        code.code_key.cache_clear()
        return found

    now = release.release_key("uavid", SETTINGS, 3)
    for module, docstring, line, other in (
        ("solids", "A low bush.", "0.2, 0.8, 2", "0.2, 0.7, 2"), ("camera", "A random camera.", "0.84, 1.14", "0.8, 1.14"),
        ("builder", "Meaning of a rendered pixel", '"building", "roof", 5', '"building", "roof", 1'),
    ):
        assert key(f"sspcore.synthetic.{module}", docstring, "Other words.") == now
        assert key(f"sspcore.synthetic.{module}", line, other) != now
