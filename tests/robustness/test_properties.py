"""Properties that hold for every input: geometry, metrics, labels and profiles, on inputs that hypothesis looks for."""

from __future__ import annotations

import math
import os
import string

import numpy as np
import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sspcore.core.classes import IGNORE, colourise
from sspcore.core.errors import ProfileError, ReleaseError
from sspcore.core.images import read_grey, resize_labels, write_image
from sspcore.data.annotations import read_label_image
from sspcore.data.datasets import SPECS
from sspcore.metrics import FrameRecord, MetricSuite
from sspcore.motion import geometry
from sspcore.study.profiles import PROFILE_FOLDER, load_profile

bounded = settings(
    max_examples=25, deadline=None, derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
sizes = st.tuples(st.integers(3, 40), st.integers(3, 40))
seeds = st.integers(0, 2**32 - 1)


@st.composite
def homographies(draw: st.DrawFn, size: tuple[int, int]) -> torch.Tensor:
    """(1, 3, 3) float64: turned, scaled, sheared, shifted and tilted, no corner of the frame near the horizon."""
    small = st.floats(-0.2, 0.2)
    linear = np.eye(2) + np.array([[draw(small) for _ in range(2)] for _ in range(2)])
    shift = [draw(st.floats(-0.5, 0.5)) * side for side in size[::-1]]
    tilt = [draw(st.floats(-0.1, 0.1)) / side for side in size[::-1]]
    return torch.tensor([[*linear[0], shift[0]], [*linear[1], shift[1]], [*tilt, 1.0]], dtype=torch.float64)[None]


def projected(H: torch.Tensor, points: np.ndarray) -> np.ndarray:
    """Points (N, 2) through a homography, by the textbook."""
    mapped = np.concatenate([points, np.ones((len(points), 1))], 1) @ H[0].numpy().T
    return mapped[:, :2] / mapped[:, 2:]


class TestGeometry:
    @bounded
    @given(data=st.data(), size=sizes, seed=seeds)
    def test_inverting_twice_gives_the_homography_back(self, data, size, seed) -> None:
        H = data.draw(homographies(size))
        back = geometry.sampling_homography(geometry.sampling_homography(H))
        torch.testing.assert_close(back, H / H[..., 2:, 2:].abs(), rtol=1e-9, atol=1e-9)

    @bounded
    @given(data=st.data(), size=sizes)
    def test_flow_of_a_homography_leads_where_the_textbook_says_and_back(self, data, size) -> None:
        H = data.draw(homographies(size))
        flow = geometry.homography_to_flow(H, size)[0].flatten(1).T.numpy()
        points = geometry.pixel_grid(*size, dtype=torch.float64)[0].flatten(1).T.numpy()
        np.testing.assert_allclose(points + flow, projected(H, points), rtol=1e-9, atol=1e-7)
        np.testing.assert_allclose(projected(geometry.sampling_homography(H), points + flow), points, rtol=1e-6, atol=1e-6)

    @bounded
    @given(size=sizes, first=st.tuples(*[st.integers(-5, 5)] * 2), second=st.tuples(*[st.integers(-5, 5)] * 2), seed=seeds)
    def test_two_whole_shifts_are_their_sum_and_the_inverse_takes_them_back(self, size, first, second, seed) -> None:
        labels = torch.from_numpy(np.random.default_rng(seed).integers(0, 9, (1, 1, *size)))

        def shifted(image: torch.Tensor, x: int, y: int) -> tuple[torch.Tensor, torch.Tensor]:
            H = torch.tensor([[[1.0, 0, x], [0, 1, y], [0, 0, 1]]])
            return geometry.warp_by_homography(image, H, "nearest")

        once, valid_once = shifted(labels, *first)
        twice, valid_twice = shifted(once, *second)
        still_valid = shifted(valid_once.long(), *second)[0].bool() & valid_twice
        direct, valid = shifted(labels, first[0] + second[0], first[1] + second[1])
        assert torch.equal(twice[still_valid], direct[still_valid]) and not (still_valid & ~valid).any()
        back, valid_back = shifted(once, -first[0], -first[1])
        unharmed = shifted(valid_once.long(), -first[0], -first[1])[0].bool() & valid_back
        assert torch.equal(back[unharmed], labels[unharmed])

    @bounded
    @given(data=st.data(), size=sizes, other=sizes)
    def test_rescaling_goes_back_and_keeps_products_and_the_identity(self, data, size, other) -> None:
        A, B = data.draw(homographies(size)), data.draw(homographies(size))

        def rescaled(H: torch.Tensor) -> torch.Tensor:
            return geometry.rescale_homography(H, size, other)

        back = geometry.rescale_homography(rescaled(A), other, size)
        torch.testing.assert_close(back, A, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(rescaled(A @ B), rescaled(A) @ rescaled(B), rtol=1e-9, atol=1e-9)
        eye = torch.eye(3, dtype=torch.float64)[None]
        torch.testing.assert_close(rescaled(eye), eye, rtol=0, atol=1e-12)

    @bounded
    @given(size=sizes, seed=seeds, odd=st.floats(width=32, allow_nan=True, allow_infinity=True), scale=st.floats(0, 50))
    def test_a_warp_invents_no_value_whatever_the_flow(self, size, seed, odd, scale) -> None:
        rng = np.random.default_rng(seed)
        source = torch.from_numpy(rng.random((1, 2, *size), np.float32))
        flow = torch.from_numpy((scale * rng.standard_normal((1, 2, *size))).astype(np.float32))
        flow[0, seed % 2, 0, 0] = odd
        values, valid = geometry.warp_by_flow(source, flow)
        assert values.isfinite().all()
        assert values.min() >= source.min() - 1e-5 and values.max() <= source.max() + 1e-5
        x, y = geometry.pixel_grid(*size)[0] + flow[0]
        inside = (x >= -0.5) & (x <= size[1] - 0.5) & (y >= -0.5) & (y <= size[0] - 0.5)
        assert torch.equal(valid[0, 0], inside)
        labels = torch.from_numpy(rng.choice([0, 3, 255], (1, 1, *size)))
        taken, _ = geometry.warp_by_flow(labels, flow, "nearest")
        assert set(taken.unique().tolist()) <= set(labels.unique().tolist())


def clips_of(seed: int, n_classes: int, lengths: list[int], size: tuple[int, int]) -> list[list[dict]]:
    """Unrelated labels and flows; some pixels without a class, some frames without truth."""
    rng = np.random.default_rng(seed)
    labels = [*range(n_classes), IGNORE]
    return [[
        {
            "prediction": rng.choice(labels, size).astype(np.uint8),
            "target": rng.choice(labels, size).astype(np.uint8),
            "flow_to_next": rng.normal(0, 3, (2, *size)).astype(np.float32),
            "flow_to_previous": rng.normal(0, 3, (2, *size)).astype(np.float32),
        } for _ in range(length)
    ] for length in lengths]


def suite_of(clips: list[list[dict]], n_classes: int, moving: tuple[int, ...]) -> MetricSuite:
    suite = MetricSuite(n_classes, moving=moving)
    for clip in clips:
        suite.start_clip()
        for frame in clip:
            suite.update(FrameRecord(**frame))
    return suite


def same(a: dict[str, float], b: dict[str, float]) -> None:
    for name, value in a.items():
        assert value == pytest.approx(b[name], rel=1e-9, abs=1e-12, nan_ok=True), name


class TestMetrics:
    @settings(bounded, max_examples=10)
    @given(seed=seeds, n_classes=st.integers(2, 6), lengths=st.lists(st.integers(1, 9), min_size=1, max_size=3), size=sizes)
    def test_range_order_chunks_and_names(self, seed, n_classes, lengths, size) -> None:
        moving = (n_classes - 1,)
        clips = clips_of(seed, n_classes, lengths, size)
        figures = suite_of(clips, n_classes, moving).compute()
        for name, value in figures.items():
            assert math.isnan(value) or value >= 0 and (name == "lag" or value <= 1), name
        same(figures, suite_of(clips[::-1], n_classes, moving).compute())
        halves = [suite_of(part, n_classes, moving) for part in (clips[:1], clips[1:])]
        halves[0].merge(halves[1])
        same(figures, halves[0].compute())
        renamed = np.append(np.random.default_rng(seed).permutation(n_classes), [IGNORE] * (256 - n_classes)).astype(np.uint8)
        others = [
            [frame | {name: renamed[frame[name]] for name in ("prediction", "target")} for frame in clip] for clip in clips
        ]
        relabelled = suite_of(others, n_classes, (int(renamed[moving[0]]),)).compute()
        del figures["tc_reference"]  # by its formula what comes from outside counts as class 0
        same(figures, relabelled)

    @settings(bounded, max_examples=10)
    @given(seed=seeds, n_classes=st.integers(2, 6), length=st.integers(2, 9), size=sizes)
    def test_a_perfect_prediction_has_the_best_accuracy(self, seed, n_classes, length, size) -> None:
        clips = clips_of(seed, n_classes, [length], size)
        for frame in clips[0]:
            frame["prediction"] = frame["target"]
        figures = suite_of(clips, n_classes, (0,)).compute()
        assert figures["miou"] == 1 and figures["miou_moving"] in (1, pytest.approx(float("nan"), nan_ok=True))


class TestLabels:
    @bounded
    @given(name=st.sampled_from(sorted(SPECS)), size=sizes, seed=seeds)
    def test_colours_of_ids_give_the_ids_back(self, tmp_path, name, size, seed) -> None:
        spec = SPECS[name]
        colours = list(spec.label_colours)
        chosen = np.random.default_rng(seed).integers(0, len(colours), size)
        write_image(tmp_path / "a.png", np.array(colours, np.uint8)[chosen])
        ids = read_label_image(tmp_path / "a.png", spec)
        assert np.array_equal(ids, np.array(list(spec.label_colours.values()), np.uint8)[chosen])
        shown = colourise(ids, spec)
        palette = {tuple(colour): k for k, colour in enumerate(spec.palette)} | {(0, 0, 0): IGNORE}
        assert all(palette[tuple(shown[y, x])] == ids[y, x] for y, x in np.ndindex(size))

    @bounded
    @given(
        name=st.sampled_from(sorted(SPECS)), size=sizes, colour=st.tuples(*[st.integers(0, 255)] * 3), place=seeds, seed=seeds,
    )
    def test_one_pixel_of_an_unknown_colour_is_found_where_it_is(self, tmp_path, name, size, colour, place, seed) -> None:
        spec = SPECS[name]
        colours = list(spec.label_colours)
        label = np.array(colours, np.uint8)[np.random.default_rng(seed).integers(0, len(colours), size)]
        y, x = divmod(place % (size[0] * size[1]), size[1])
        label[y, x] = colour
        write_image(tmp_path / "a.png", label)
        if colour in spec.label_colours:
            assert read_label_image(tmp_path / "a.png", spec)[y, x] == spec.label_colours[colour]
            return
        with pytest.raises(ReleaseError) as error:
            read_label_image(tmp_path / "a.png", spec)
        for part in (f"a.png: colour {colour} at x={x}, y={y} is not", "(1 pixels of 1 such"):
            assert part in str(error.value)

    @bounded
    @given(size=sizes, other=sizes, seed=seeds)
    def test_label_maps_survive_files_and_resizing_invents_no_class(self, tmp_path, size, other, seed) -> None:
        labels = np.random.default_rng(seed).choice([0, 1, 7, IGNORE], size).astype(np.uint8)
        write_image(tmp_path / "a.png", labels)
        assert np.array_equal(read_grey(tmp_path / "a.png"), labels)
        resized = resize_labels(labels, other)
        assert resized.shape == other and set(np.unique(resized)) <= set(np.unique(labels))
        doubled = resize_labels(labels, (2 * size[0], 2 * size[1]))
        assert np.array_equal(resize_labels(doubled, size), labels)


SMOKE = yaml.safe_load((PROFILE_FOLDER / "smoke.yaml").read_text(encoding="utf-8"))
FULL = load_profile("smoke").model_dump(mode="json")


def places(tree: object, path: tuple = ()) -> list[tuple]:
    """Paths of all values of a tree, mappings and lists included."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [path] * bool(path) + [place for key, value in items for place in places(value, (*path, key))]


def put(tree: object, path: tuple, value: object) -> object:
    """A copy of a tree with another value at a path."""
    if not path:
        return value
    copy = dict(tree) if isinstance(tree, dict) else list(tree)
    copy[path[0]] = put(copy[path[0]] if len(path) > 1 else None, path[1:], value)
    return copy


def at(tree: object, path: tuple) -> object:
    for key in path:
        tree = tree[key]
    return tree


def loaded(folder, tree: object):
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(tree, allow_unicode=True), encoding="utf-8")
    return load_profile(str(path))


values = st.one_of(
    st.none(), st.booleans(), st.integers(-10, 10), st.integers(-(2**80), 2**80), st.floats(), st.text(max_size=5),
    st.lists(st.integers(-3, 300), max_size=3), st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)
TREES = {name: load_profile(name).model_dump(mode="json") for name in ("smoke", "paper")}
EXTENDED = [(name, path) for name, tree in TREES.items() for path in places(tree)]
MAPPINGS = [path for path in [(), *places(FULL)] if isinstance(at(FULL, path), dict)]


class TestProfiles:
    @bounded
    @given(place=st.sampled_from(EXTENDED), value=values, of_a_data_set=st.booleans())
    def test_a_file_that_extends_another_is_that_one_with_a_value_changed(self, tmp_path, place, value, of_a_data_set) -> None:
        (base, path), tree = place, TREES[place[0]]
        path = tuple(f"{key}@uavid" if of_a_data_set and path[:k] == ("training",) else key for k, key in enumerate(path))
        # mappings along the way, lists whole: a child says no more than the value
        depth = next((k for k in range(len(path)) if isinstance(path[k], int)), len(path))
        if depth < len(path):
            return
        child: object = value
        for key in reversed(path):
            child = {key: child}
        try:
            profile = loaded(tmp_path, {"extends": base, **child})
        except ProfileError as error:
            assert len(str(error).splitlines()) == 1 and "mine.yaml" in str(error)
            return
        if of_a_data_set or path[0] in ("name", "description", "publish_to") or isinstance(value, dict):
            return
        found = profile.model_dump(mode="json")
        assert at(found, path) == value or isinstance(value, (list, float, int))
        changed = {path, ("name",), ("description",), ("publish_to",)}
        if path[0] == "training":  # what is said of a recipe holds for its data sets too
            changed |= {(*path[:1], name, *path[2:]) for name in tree["training"] if name.startswith(f"{(*path, '')[1]}@")}
        others = [each for each in places(tree) if not isinstance(at(tree, each), (dict, list))]
        others = [each for each in others if not any(each[:k] in changed for k in range(1, len(each) + 1))]
        assert {each: at(found, each) for each in others} == {each: at(tree, each) for each in others}

    @bounded
    @given(path=st.sampled_from(places(FULL)), value=values)
    def test_any_value_anywhere_is_one_line_or_survives_a_round_trip(self, tmp_path, path, value) -> None:
        try:
            profile = loaded(tmp_path, put(FULL, path, value))
        except ProfileError as error:
            assert len(str(error).splitlines()) == 1 and "mine.yaml" in str(error)
            return
        assert loaded(tmp_path, profile.model_dump(mode="json")) == profile

    @bounded
    @given(path=st.sampled_from(MAPPINGS), key=st.text(string.ascii_lowercase, min_size=1, max_size=6), value=st.integers())
    def test_every_unknown_key_is_refused(self, tmp_path, path, key, value) -> None:
        known = at(FULL, path)
        if key in known:
            return
        where = r"\.".join(map(str, (*path, rf"(\w+\.)?{key}")))  # an operation's kind may stand before its setting
        with pytest.raises(ProfileError, match=where):
            loaded(tmp_path, put(FULL, path, known | {key: value}))

    @bounded
    @given(
        epochs=st.integers(1, 500), lr=st.floats(1e-9, 10), weight=st.floats(0, 100), decay=st.floats(0, 1),
        batch=st.integers(1, 64), seed=st.integers(0, 2**63 - 1),
    )
    def test_whatever_is_in_bounds_is_taken_exactly(self, tmp_path, epochs, lr, weight, decay, batch, seed) -> None:
        asked = {
            "epochs": epochs, "schedule_epochs": epochs, "lr": lr, "lambda_tc": weight, "weight_decay": decay,
            "batch_size": batch,
        }
        tree = put(put(FULL, ("seed",), seed), ("training", "video"), FULL["training"]["video"] | asked)
        profile = loaded(tmp_path, tree)
        read = profile.training["video"].model_dump(mode="json")
        assert {key: read[key] for key in asked} == asked and profile.seed == seed
        overridden = load_profile("smoke", {f"training.video.{key}": value for key, value in asked.items()})
        assert overridden.training == profile.training

    @bounded
    @given(
        bound=st.sampled_from([
            ("epochs", 0), ("batch_size", 0), ("lr", 0.0), ("weight_decay", -1e-12), ("final_lr_ratio", 1.0000001),
            ("head_lr_factor", 0.0), ("lambda_tc", -1e-12), ("temperature", 0.0), ("repeats", 0), ("auxiliary_weight", -1e-12),
            ("warmup_epochs", -1e-12),
        ]),
        beyond=st.integers(0, 10**6),
    )
    def test_whatever_is_out_of_bounds_is_refused_by_name(self, tmp_path, bound, beyond) -> None:
        name, first = bound
        value = first + beyond if first > 0.5 else first - beyond
        with pytest.raises(ProfileError, match=rf"training\.video\.{name}: .*(greater|less) than"):
            loaded(tmp_path, put(FULL, ("training", "video"), FULL["training"]["video"] | {name: value}))


def test_the_dumped_profile_is_the_profile(tmp_path) -> None:
    assert loaded(tmp_path, FULL) == loaded(tmp_path, SMOKE) == load_profile("smoke")
