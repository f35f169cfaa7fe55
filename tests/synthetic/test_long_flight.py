"""The long flight: parts that fit together, labels of every frame, rendered once, whatever the order they are read in."""

from __future__ import annotations

import numpy as np
import pytest

from sspcore.core.checksums import manifest
from sspcore.data.datasets import UAVID
from sspcore.synthetic.long_flight import FPS, VIDEO, LongFlightSettings, long_world, part_folder, render_long_flight

SETTINGS = LongFlightSettings(size=(64, 96), frames=7, part=3, seed=1)


@pytest.fixture(scope="module")
def flight(tmp_path_factory):
    return render_long_flight(tmp_path_factory.mktemp("long"), SETTINGS)


def test_every_frame_has_a_picture_and_a_label_and_no_part_begins_elsewhere(flight):
    frames, labels = ([read(k) for k in range(len(flight))] for read in (flight.frame, flight.labels))
    assert {image.shape for image in frames} == {(64, 96, 3)} and {one.shape for one in labels} == {(64, 96)}
    assert all(set(np.unique(one)) <= {*range(UAVID.n_classes), 255} for one in labels)
    for series in (frames, labels):  # the third frame ends a part: it is no further from its neighbours than others
        steps = [(a != b).mean() for a, b in zip(series, series[1:], strict=False)]
        assert 0 < steps[2] < 1.5 * max(steps[0], steps[1], steps[3])


def test_frames_are_the_same_in_any_order(flight):
    backwards = {k: flight.frame(k) for k in reversed(range(len(flight)))}
    assert all(np.array_equal(flight.frame(k), backwards[k]) for k in range(len(flight)))


def test_it_is_rendered_once_and_each_part_for_itself(flight, tmp_path):
    video = part_folder(flight.folder, 0) / VIDEO
    before = video.stat().st_mtime_ns
    render_long_flight(flight.folder, SETTINGS)
    assert video.stat().st_mtime_ns == before
    alone = render_long_flight(tmp_path, SETTINGS)
    video.unlink()
    render_long_flight(flight.folder, SETTINGS)
    files = [{name: seen for name, seen in manifest(one.folder).items() if "key" not in name} for one in (flight, alone)]
    assert files[0] == files[1] and len(files[0]) == 7 + 3


def test_the_flight_keeps_its_height_and_stays_where_textures_are_fine():
    for frames in (SETTINGS.frames, 20_000):
        world, _ = long_world(SETTINGS.model_copy(update={"frames": frames}))
        cameras = [world.flight.camera(seconds, 88, (64, 96)) for seconds in (0, frames / FPS)]
        assert abs(cameras[0].position[2] - cameras[1].position[2]) < 0.5
        assert cameras[0].position[0] < cameras[1].position[0] < 601
