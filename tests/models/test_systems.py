"""The table of systems: names, what each starts from, what tells them apart."""

from __future__ import annotations

from itertools import product
from types import SimpleNamespace

import pytest
import torch

from helpers.systems import CLASSES, FLOW_TRAINED, LITE, PROFILE, window_of
from sspcore.core.errors import ArtefactError, ProfileError
from sspcore.core.types import VideoSegmenter
from sspcore.models.systems import (
    ABLATIONS,
    OURS,
    PAPER_SYSTEMS,
    START,
    SYSTEMS,
    build,
    control,
    image_spec,
    stand_in,
    start_from,
    system,
)
from sspcore.motion.raft import RAFT


class TestTable:
    def test_names_are_the_papers(self) -> None:
        assert PAPER_SYSTEMS == (
            "Teacher", "SegFormer-b2", "SegFormer-b3", "ConvNeXt-S + UPerNet", "Base", "KD Base",
            "DFF", "NetWarp", "TCB_ppm", "TCB_ocr", "SSP", "KD-SSP",
        )  # fmt: skip

    def test_every_start_is_a_system_on_the_same_image_model(self) -> None:
        for equal_steps, spec in product((True, False), SYSTEMS.values()):
            seen = {spec.name}
            while spec.start(equal_steps) is not None:
                start = SYSTEMS[spec.start(equal_steps)]
                assert start.image_model == spec.image_model
                assert start.name not in seen
                seen.add(start.name)
                spec = start

    def test_published_starts_and_equal_steps(self) -> None:
        published = {name: SYSTEMS[name].start(False) for name in (*PAPER_SYSTEMS, *OURS)}
        assert {name for name, start in published.items() if start == "Base"} == {
            "DFF", "NetWarp", "TCB_ppm", "TCB_ocr", "SSP", "SSP-R"
        }
        assert {name for name, start in published.items() if start == "KD Base"} == {"KD-SSP", "KD-SSP-R"}
        assert sum(start is None for start in published.values()) == 6
        # of ours, Base itself and all that is trained on labels on it go on from one training
        equal = {name: SYSTEMS[name].start(True) for name in published}
        assert {name for name, start in equal.items() if start == START} == {
            "Base", "KD Base", "DFF", "NetWarp", "TCB_ppm", "TCB_ocr", "SSP"
        }
        assert all(equal[name] == published[name] for name in (*OURS, "KD-SSP", "Teacher", "SegFormer-b2"))
        untrained = ABLATIONS["SSP (untrained image model)"]
        assert untrained.start(True) is untrained.start(False) is None

    def test_distilled_systems_need_the_teacher(self) -> None:
        assert [n for n, spec in SYSTEMS.items() if spec.teacher] == ["KD Base", "KD-SSP", "KD-SSP-R"]

    def test_recurrent_window_comes_from_the_profile(self) -> None:
        assert build("SSP-R", CLASSES, PROFILE, load_weights=False).window == 3
        assert build("SSP", CLASSES, PROFILE, load_weights=False).window == 2

    def test_control_is_found_by_its_name(self) -> None:
        for spec in (control(0.3), control(0), control(0.85, "KD Base")):
            assert system(spec.name) == spec
        assert control(0.5).name == "Constant alpha 0.5"

    @pytest.mark.parametrize("unknown", ["SSPP", "Constant alpha 1.5", "Constant alpha 0.5 (SSP)", "Constant alpha x"])
    def test_unknown_system_is_named(self, unknown: str) -> None:
        with pytest.raises(ProfileError) as caught:
            build(unknown, CLASSES, PROFILE)
        assert unknown in str(caught.value)

    def test_missing_image_model_is_named(self) -> None:
        with pytest.raises(ProfileError, match=r"models\.base"):
            image_spec("SSP", SimpleNamespace(models={}, recurrent_window=6))

    def test_key_tells_apart_what_differs_and_only_that(self) -> None:
        assert control(0.3).key() != control(0.5).key()
        assert SYSTEMS["SSP"].key() != SYSTEMS["SSP-R"].key()
        assert SYSTEMS["SSP"].key() == SYSTEMS["SSP"].key()

    def test_stand_ins_are_told(self) -> None:
        assert stand_in("SSP", PROFILE) == "tf_efficientnet_lite0 for sam2_hiera_small"
        hiera = LITE.model_copy(update={"encoder": "tu-sam2_hiera_small.fb_r896"})
        assert stand_in("SSP", SimpleNamespace(models={"base": hiera}, recurrent_window=6)) is None


class TestStartFrom:
    @pytest.fixture
    def base(self) -> VideoSegmenter:
        torch.manual_seed(3)
        return build("Base", CLASSES, PROFILE, load_weights=False)

    @pytest.mark.parametrize("name", ["SSP", "SSP-R", "DFF", "NetWarp", "TCB_ppm", "TCB_ocr", "KD-SSP", "KD Base"])
    def test_image_weights_are_taken_over(self, name: str, base: VideoSegmenter) -> None:
        model = build(name, CLASSES, PROFILE, load_weights=False)
        loaded = start_from(model, base.state_dict())
        window = window_of(1)
        with torch.no_grad():
            image = model if name == "KD Base" else model.image
            assert torch.equal(image.eval()(window).logits, base.eval()(window).logits)
        fresh = set(model.state_dict()) - loaded
        assert all(not key.startswith("image.") for key in fresh)
        assert bool(fresh) == (name not in ("DFF", "KD Base"))

    @pytest.mark.parametrize("name", ["DFF", "NetWarp"])
    def test_a_raft_of_its_own_is_no_new_part(self, name: str, base: VideoSegmenter) -> None:
        model = build(name, CLASSES, FLOW_TRAINED, load_weights=False)
        fresh = set(model.state_dict()) - start_from(model, base.state_dict())
        new_parts = ("flow_cnn.", "past_weights.", "present_weights.") if name == "NetWarp" else ()
        assert {key.split(".")[0] + "." for key in fresh} == {*new_parts}

    def test_pretrained_weights_of_a_raft_are_loaded_where_the_encoders_are(self, monkeypatch: pytest.MonkeyPatch) -> None:
        loaded: list[RAFT] = []
        monkeypatch.setattr(RAFT, "load", lambda raft: loaded.append(raft))
        build("DFF", CLASSES, FLOW_TRAINED, load_weights=False)
        assert loaded == []
        model = build("DFF", CLASSES, FLOW_TRAINED)
        assert loaded == [model.raft]
        build("SSP", CLASSES, FLOW_TRAINED)
        assert len(loaded) == 1

    def test_own_checkpoint_is_taken_over_whole(self) -> None:
        model = build("SSP", CLASSES, PROFILE, load_weights=False)
        other = build("SSP", CLASSES, PROFILE, load_weights=False)
        assert start_from(model, other.state_dict()) == set(model.state_dict())

    @pytest.mark.parametrize("change", ["lost", "lost own", "surplus", "shape"])
    def test_what_does_not_fit_is_refused(self, change: str, base: VideoSegmenter) -> None:
        model = build("SSP", CLASSES, PROFILE, load_weights=False)
        state = dict(base.state_dict())
        if change == "lost":
            del state["classifier.bias"]
        elif change == "lost own":
            state = dict(model.state_dict())
            del state["similarity.head.6.bias"]
        elif change == "surplus":
            state["decoder.extra"] = torch.zeros(1)
        else:
            state["classifier.bias"] = torch.zeros(CLASSES + 1)
        with pytest.raises(ArtefactError, match="Base weights"):
            start_from(model, state, "Base weights")
