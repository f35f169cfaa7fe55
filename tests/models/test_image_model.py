"""The image model: what it takes and refuses, its encoders, decoder and upsampling."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from helpers.systems import CLASSES, HEIGHT, LITE, WIDTH, window_of
from sspcore.core.errors import ProfileError
from sspcore.models import ImageModelSpec, ImageSegmenter
from sspcore.models.interface import upsample


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
