"""One base tester over every system, and the table that names them."""

from __future__ import annotations

from dataclasses import fields
from itertools import product
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sspcore.core.conventions import CORRECTED
from sspcore.core.errors import ArtefactError, ProfileError
from sspcore.core.types import Motion, VideoSegmenter, VideoState, Window
from sspcore.models import ImageModelSpec, ImageSegmenter
from sspcore.models.interface import upsample
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

CLASSES, HEIGHT, WIDTH = 5, 64, 96
LITE = ImageModelSpec(encoder="tu-tf_efficientnet_lite0", decoder_channels=16, weights="none")
PROFILE = SimpleNamespace(
    models={
        "teacher": LITE,
        "segformer_b2": ImageModelSpec(arch="segformer", encoder="mit_b0", decoder_channels=16, weights="none"),
        "segformer_b3": ImageModelSpec(arch="segformer", encoder="mit_b0", decoder_channels=16, weights="none"),
        "convnext_s": LITE.model_copy(update={"auxiliary_channels": 8}),
        "base": LITE,
    },
    recurrent_window=3,
    conventions=CORRECTED,
    train_flow=False,
)
FLOW_TRAINED = SimpleNamespace(**vars(PROFILE) | {"train_flow": True})
TRAINED = ", flow trained"  # end of the name of a system that holds a RAFT of its own
UNLISTED = ("Constant alpha 0.3", "SSP (gate)", "Majority vote 5", "One-euro filter 0.9")
# Systems that differ in nothing but their training (KD Base and Base, ...) are one model: the first name stands for it.
EVERY_MODEL = {
    (PROFILE.models[spec.image_model], spec.method, spec.options, spec.recurrent): spec.name
    for spec in reversed([*SYSTEMS.values(), *map(system, UNLISTED)])
}
# Frames of a stream of 10 that a system encodes; the others encode each once.
ENCODED_OF_10 = {"DFF": 2, f"DFF{TRAINED}": 2}


def window_of(n_frames: int, batch: int = 1, seed: int = 0) -> Window:
    """Noise with a small shift to the right and up between frames, for the homography and the flow alike.

    Of the matches those in the left half are inliers.
    """
    generator = torch.Generator().manual_seed(seed)
    H = torch.eye(3).repeat(batch, n_frames - 1, 1, 1)
    H[..., 0, 2], H[..., 1, 2] = 5.0, -3.0
    flow = torch.tensor([-5.0, 3.0]).view(1, 1, 2, 1, 1).expand(batch, n_frames - 1, 2, HEIGHT, WIDTH).clone()
    frames = torch.randn(batch, n_frames, 3, HEIGHT, WIDTH, generator=generator)
    points = torch.rand(batch, n_frames - 1, 50, 2, generator=generator) * torch.tensor([WIDTH, HEIGHT])
    matches = torch.cat([points, (points[..., :1] < WIDTH / 2).float()], dim=-1)
    return Window(frames, H_prev_to_cur=H, flow_to_prev=flow, correspondences=matches)


def encoder_of(model: VideoSegmenter) -> torch.nn.Module:
    return (model if isinstance(model, ImageSegmenter) else model.image).encoder


def wake(model: VideoSegmenter) -> VideoSegmenter:
    """Give parameters that start at zero a value, so that nothing agrees only because it is switched off."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.count_nonzero() == 0:
                parameter.normal_(std=0.1)
    return model


def tensors_of(state: VideoState) -> list[Tensor]:
    flat = []
    for field in fields(state):
        value = getattr(state, field.name)
        flat += [v for v in (value if isinstance(value, tuple) else (value,)) if isinstance(v, Tensor)]
    return flat


class CountedFrames:
    """Counts calls and frames that pass through a module."""

    def __init__(self, module: torch.nn.Module) -> None:
        self.calls = self.frames = 0
        module.register_forward_pre_hook(self)

    def __call__(self, module: torch.nn.Module, inputs: tuple[Tensor]) -> None:
        self.calls += 1
        self.frames += inputs[0].shape[0]


@pytest.fixture(scope="module", params=[*sorted(EVERY_MODEL.values()), f"DFF{TRAINED}", f"NetWarp{TRAINED}"])
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def shared_model(name: str) -> VideoSegmenter:
    torch.manual_seed(0)
    profile = FLOW_TRAINED if name.endswith(TRAINED) else PROFILE
    return wake(build(name.removesuffix(TRAINED), CLASSES, profile, load_weights=False))


@pytest.fixture
def model(shared_model: VideoSegmenter) -> VideoSegmenter:
    return shared_model.eval()


class TestEverySystem:
    def test_forward_gives_full_size_logits_of_all_frames_but_the_context(self, model: VideoSegmenter) -> None:
        outputs = model(window_of(model.window, batch=2))
        assert outputs.logits.shape == (2, model.window - model.context, CLASSES, HEIGHT, WIDTH)
        assert outputs.logits.isfinite().all()
        assert outputs.auxiliary is None

    @torch.no_grad()
    def test_streaming_equals_offline(self, model: VideoSegmenter) -> None:
        window = window_of(10)
        offline, streamed = model(window).logits, model.rollout(window)[:, model.context :]
        torch.testing.assert_close(offline, streamed, rtol=0, atol=1e-5)
        # Rounding may tip a tie between two classes, nothing more.
        assert (offline.argmax(2) == streamed.argmax(2)).float().mean() > 0.999

    def test_gradients_reach_every_parameter(self, model: VideoSegmenter) -> None:
        model.train()
        outputs = model(window_of(model.window, batch=2))
        loss = outputs.logits.square().mean()
        if outputs.auxiliary is not None:
            assert outputs.auxiliary.shape == outputs.logits.shape
            loss = loss + outputs.auxiliary.square().mean()
        model.zero_grad()
        loss.backward()
        gradients = {key: parameter.grad for key, parameter in model.named_parameters()}
        assert [key for key, gradient in gradients.items() if gradient is None] == []
        assert all(gradient.isfinite().all() for gradient in gradients.values())
        weights = [key for key, gradient in gradients.items() if gradient.ndim > 1 and not gradient.any()]
        assert weights == []

    def test_state_can_be_detached_and_moved(self, model: VideoSegmenter) -> None:
        window = window_of(2)
        _, state = model.step(window.frames[:, 0], None, None)
        detached = state.map(torch.Tensor.detach).to("cpu")
        assert type(detached) is type(state)
        assert not any(tensor.requires_grad for tensor in tensors_of(detached))
        expected, _ = model.step(window.frames[:, 1], state, window.motion(1))
        got, _ = model.step(window.frames[:, 1], detached, window.motion(1))
        assert torch.equal(got, expected)

    @torch.no_grad()
    def test_one_model_serves_two_videos_at_once(self, model: VideoSegmenter) -> None:
        videos = [window_of(5, seed=1), window_of(5, seed=2)]
        states: list[VideoState | None] = [None, None]
        interleaved: list[list[Tensor]] = [[], []]
        for k in range(5):
            for i, video in enumerate(videos):
                logits, states[i] = model.step(video.frames[:, k], states[i], video.motion(k))
                interleaved[i].append(logits)
        for video, logits in zip(videos, interleaved, strict=True):
            assert torch.equal(torch.stack(logits, dim=1), model.rollout(video))

    @torch.no_grad()
    def test_each_streamed_frame_is_encoded_at_most_once(self, model: VideoSegmenter, name: str) -> None:
        counted = CountedFrames(encoder_of(model))
        model.rollout(window_of(10))
        assert counted.frames == counted.calls == ENCODED_OF_10.get(name, 10)

    @torch.no_grad()
    def test_training_encodes_a_batch_of_windows_in_one_call(self, model: VideoSegmenter) -> None:
        counted = CountedFrames(encoder_of(model))
        model(window_of(model.window, batch=3))
        assert counted.calls == 1

    def test_missing_motion_is_named(self, model: VideoSegmenter) -> None:
        window = window_of(2)
        _, state = model.step(window.frames[:, 0], None, None)
        if not model.needs:
            model.step(window.frames[:, 1], state, None)
            return
        for motion in (None, Motion()):
            with pytest.raises(ValueError, match=f"{type(model).__name__} needs motion"):
                model.step(window.frames[:, 1], state, motion)


class TestImageModel:
    def test_size_error_names_the_size_to_pad_to(self) -> None:
        model = ImageSegmenter(LITE, CLASSES)
        with pytest.raises(ProfileError, match=r"70x96: .* pad the frames to 96x96"):
            model.step(torch.zeros(1, 3, 70, 96), None)

    def test_unknown_encoder_is_named(self) -> None:
        with pytest.raises(ProfileError, match="tu-no_such_network"):
            ImageSegmenter(LITE.model_copy(update={"encoder": "tu-no_such_network"}), CLASSES)

    @pytest.mark.parametrize("size", [(736, 1280), (736, 736), (96, 160), (288, 480)])
    @pytest.mark.parametrize("encoder", ["tu-sam2_hiera_small.fb_r896", "tu-sam2_hiera_base_plus.fb_r896"])
    def test_hiera_takes_any_size(self, encoder: str, size: tuple[int, int]) -> None:
        spec = ImageModelSpec(encoder=encoder, decoder_channels=16, weights="none")
        with torch.device("meta"):
            model = ImageSegmenter(spec, CLASSES).eval()
            logits, _ = model.step(torch.empty(1, 3, *size))
        assert logits.shape == (1, CLASSES, *size)

    def test_upernet_without_norms_sees_the_encoders_own_features(self) -> None:
        plain = ImageSegmenter(LITE.model_copy(update={"feature_norm": False}), CLASSES).eval()
        normed = ImageSegmenter(LITE, CLASSES).eval()
        lost = {f"decoder.feature_norms.{level}.{kind}" for level in range(4) for kind in ("weight", "bias")}
        assert set(normed.state_dict()) - set(plain.state_dict()) == lost
        normed.load_state_dict(plain.state_dict(), strict=False)
        pyramid = [torch.randn(1, c, 64 // 2**level, 64 // 2**level) for level, c in enumerate(plain.encoder.out_channels)]
        scaled = [10 * level for level in pyramid]
        with torch.no_grad():
            torch.testing.assert_close(normed.decode(scaled), normed.decode(pyramid), rtol=1e-3, atol=1e-3)
            assert (plain.decode(scaled) - plain.decode(pyramid)).abs().max() > 0.1

    def test_classifier_drops_features_in_training_only(self) -> None:
        model = ImageSegmenter(LITE.model_copy(update={"dropout": 0.5}), CLASSES)
        with torch.no_grad():
            model.classifier.weight.fill_(1.0)
            model.classifier.bias.zero_()
            ones = torch.ones(1, 16, 32, 32)
            assert torch.equal(model.eval().classify(ones), torch.full((1, CLASSES, 32, 32), 16.0))
            dropped = model.train().classify(ones)[:, 0]
        assert dropped.std() > 2 and dropped.mean().item() == pytest.approx(16, abs=0.5)  # what is kept counts twice

    @pytest.mark.parametrize(("arch", "encoder"), [("upernet", LITE.encoder), ("segformer", "mit_b0")])
    def test_decoder_starts_by_the_rule(self, arch: str, encoder: str) -> None:
        def started(rule: str) -> dict[str, torch.nn.Module]:
            spec = LITE.model_copy(update={"arch": arch, "encoder": encoder, "decoder_init": rule})
            model = ImageSegmenter(spec, CLASSES)
            layers = {"classifier": model.classifier, **dict(model.decoder.named_modules())}
            return {k: v for k, v in layers.items() if isinstance(v, torch.nn.Conv2d | torch.nn.Linear)}

        for name, layer in started("normal").items():
            assert layer.weight.std().item() == pytest.approx(0.02, rel=0.2), name
            assert layer.bias is None or layer.bias.count_nonzero() == 0
        for name, layer in started("torch").items():  # uniform up to 1 / sqrt(inputs of a sum)
            bound = layer.weight[0].numel() ** -0.5
            assert 0.9 * bound < layer.weight.abs().max() <= bound, name

    def test_pyramid_has_strides_4_to_32(self) -> None:
        model = ImageSegmenter(LITE, CLASSES).eval()
        pyramid = model.encode(torch.randn(1, 3, HEIGHT, WIDTH))
        assert [HEIGHT // level.shape[-2] for level in pyramid[-4:]] == [4, 8, 16, 32]
        assert tuple(level.shape[1] for level in pyramid[-4:]) == model.pyramid_channels
        assert pyramid[-4].shape[-2:] == (HEIGHT // 4, WIDTH // 4)
        assert model.decode(pyramid).shape == (1, CLASSES, HEIGHT // 4, WIDTH // 4)


    def test_upsampling_keeps_pixel_centres(self) -> None:
        ramp = torch.arange(24.0).expand(1, 1, 16, 24)
        upsampled = upsample(ramp, (64, 96))
        columns = torch.arange(8, 88)  # clear of the border, where the ramp ends
        # The cubic kernel ripples by 0.04 on a ramp; corners aligned would be off by 0.3.
        torch.testing.assert_close(upsampled[0, 0, 32, 8:88], (columns + 0.5) / 4 - 0.5, rtol=0, atol=0.05)

    @pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
    def test_upsampling_is_what_the_spec_says(self, mode: str) -> None:
        model = ImageSegmenter(LITE.model_copy(update={"upsampling": mode}), CLASSES).eval()
        window = window_of(1)
        with torch.no_grad():
            logits = model.decode(model.encode(window.frames[:, 0]))
            expected = F.interpolate(logits, (HEIGHT, WIDTH), mode=mode, align_corners=False)
            assert torch.equal(model(window).logits[:, 0], expected) and torch.equal(model.rollout(window)[:, 0], expected)

    def test_upsampling_in_training_is_torchs_with_its_gradient(self) -> None:
        torch.manual_seed(0)
        logits, weights = torch.randn(2, 3, 16, 24), torch.randn(2, 3, 60, 96)
        logits = logits.to(memory_format=torch.channels_last)
        ours, torchs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
        expected = F.interpolate(torchs, size=(60, 96), mode="bicubic", align_corners=False)
        found = upsample(ours, (60, 96))
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
        assert torch.equal(upsample(logits, (60, 96)), expected)  # what is exported and streamed
        (found * weights).sum().backward()
        (expected * weights).sum().backward()
        torch.testing.assert_close(ours.grad, torchs.grad, rtol=0, atol=1e-4)


class TestWindow:
    def test_motion_leads_from_the_frame_before(self) -> None:
        window = window_of(3)
        window.H_prev_to_cur[:, 1] *= 2
        window.flow_to_prev[:, 1] *= 2
        assert window.motion(0) is None
        for k in (1, 2):
            assert torch.equal(window.motion(k).H_prev_to_cur, window.H_prev_to_cur[:, k - 1])
            assert torch.equal(window.motion(k).flow_to_prev, window.flow_to_prev[:, k - 1])
        assert Window(window.frames).motion(1) == Motion()

    def test_moves_as_a_whole(self) -> None:
        moved = window_of(2).to("meta")
        assert moved.frames.is_meta and moved.H_prev_to_cur.is_meta and moved.labels is None


class TestBaselines:
    def test_dff_carries_the_key_frames_labels_along_the_flow(self) -> None:
        model = build("DFF", CLASSES, PROFILE, load_weights=False).eval()
        window = window_of(2)
        window.flow_to_prev[:] = torch.tensor([-8.0, 4.0]).view(1, 1, 2, 1, 1)
        with torch.no_grad():
            key = model.image.decode(model.image.encode(window.frames[:, 0]))
            logits = model.rollout(window)[:, 1]
        # 8 px to the right and 4 px up are 2 and 1 pixels of the decoder's grid.
        shifted = torch.zeros_like(key)
        shifted[..., :-1, 2:] = key[..., 1:, :-2]
        inside = (..., slice(0, HEIGHT - 16), slice(20, WIDTH))  # clear of the border and of bicubic reach
        expected = upsample(shifted, (HEIGHT, WIDTH))
        torch.testing.assert_close(logits[inside], expected[inside], rtol=0, atol=1e-4)

    def test_netwarp_starts_as_the_image_model(self) -> None:
        model = build("NetWarp", CLASSES, PROFILE, load_weights=False).eval()
        window = window_of(3)
        with torch.no_grad():
            torch.testing.assert_close(model.rollout(window), model.image(window).logits)

    def test_netwarp_flow_starts_near_the_given_flow(self) -> None:
        model = build("NetWarp", CLASSES, PROFILE, load_weights=False)
        flow, frame = torch.full((1, 2, HEIGHT, WIDTH), 7.0), torch.zeros(1, 3, HEIGHT, WIDTH)
        refined = model.flow_cnn(flow, frame, frame)
        assert (refined - flow).abs().max() < 1.0

    @pytest.mark.parametrize("name", ["DFF", "NetWarp"])
    def test_a_raft_of_its_own_gives_what_the_same_flow_from_outside_gives(self, name: str) -> None:
        owner = wake(build(name, CLASSES, FLOW_TRAINED, load_weights=False)).eval()
        other = build(name, CLASSES, PROFILE, load_weights=False).eval()
        start_from(other, {k: v for k, v in owner.state_dict().items() if not k.startswith("raft.")})
        assert owner.needs == set() and other.needs == {"flow"}
        window = window_of(3)
        with torch.no_grad():
            flow = [owner.raft(window.frames[:, k], window.frames[:, k - 1]) for k in (1, 2)]
            given = Window(window.frames, flow_to_prev=torch.stack(flow, dim=1))
            torch.testing.assert_close(owner.rollout(Window(window.frames)), other.rollout(given), rtol=0, atol=1e-5)
            assert (other.rollout(window) - other.rollout(given)).abs().max() > 1e-3  # the flow matters

    def test_published_flow_cnn_starts_at_random(self) -> None:
        published, ours = (build("NetWarp", CLASSES, p, load_weights=False).flow_cnn for p in (FLOW_TRAINED, PROFILE))
        assert ours.merge.bias.count_nonzero() == 0 and ours.merge.weight[0, 2, 1, 1] == 1
        assert published.merge.bias.all() and published.merge.weight.abs().max() <= 36**-0.5

    @pytest.mark.parametrize("name", ["TCB_ppm", "TCB_ocr"])
    def test_tcb_fills_the_clip_with_the_first_frame(self, name: str) -> None:
        model = build(name, CLASSES, PROFILE, load_weights=False).eval()
        window = window_of(2)
        first = window.frames[:, :1]
        repeated = Window(torch.cat((first, first, first, window.frames[:, 1:]), dim=1))
        with torch.no_grad():
            torch.testing.assert_close(model.rollout(window)[:, 1], model(repeated).logits[:, 0], rtol=0, atol=1e-5)

    @pytest.mark.parametrize("name", ["TCB_ppm", "TCB_ocr"])
    def test_tcb_looks_at_all_four_frames(self, name: str) -> None:
        model = build(name, CLASSES, PROFILE, load_weights=False).eval()
        window = window_of(4)
        with torch.no_grad():
            logits = model(window).logits
            for k in range(3):
                changed = Window(window.frames.clone())
                changed.frames[:, k] += 1
                assert not torch.equal(model(changed).logits, logits)


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
