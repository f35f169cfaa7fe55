"""Whole networks in transformers' layout: an independent reading of such a file computes what ours computes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from huggingface_hub.errors import EntryNotFoundError
from safetensors.torch import save_file
from torch import Tensor

from sspcore.core.errors import WeightsError
from sspcore.models import pretrained, whole
from sspcore.models.image import ImageSegmenter
from sspcore.models.spec import ImageModelSpec

DEPTHS, WIDTHS, CHANNELS, AUXILIARY = (3, 3, 9, 3), (96, 192, 384, 768), 16, 8
SPEC = ImageModelSpec(
    encoder="tu-convnext_tiny", decoder_channels=CHANNELS, weights="hub", checkpoint="owner/upernet-convnext-tiny",
    auxiliary_channels=AUXILIARY, decoder_init="normal",
)


def published(n_classes: int = 7) -> dict[str, Tensor]:
    """The entries of transformers' UperNetForSemanticSegmentation on a ConvNeXt backbone, with random values."""
    generator, state = torch.Generator().manual_seed(0), {}

    def values(name: str, *shape: int) -> None:
        state[name] = torch.randn(shape, generator=generator) / max(1, torch.Size(shape[1:]).numel()) ** 0.5

    def weight_and_bias(name: str, *shape: int) -> None:
        values(f"{name}.weight", *shape)
        values(f"{name}.bias", shape[0])

    def conv_module(name: str, out: int, inside: int, kernel: int) -> None:
        values(f"{name}.conv.weight", out, inside, kernel, kernel)
        weight_and_bias(f"{name}.batch_norm", out)
        values(f"{name}.batch_norm.running_mean", out)
        state[f"{name}.batch_norm.running_var"] = torch.rand(out, generator=generator) + 0.5
        state[f"{name}.batch_norm.num_batches_tracked"] = torch.tensor(3)

    weight_and_bias("backbone.embeddings.patch_embeddings", WIDTHS[0], 3, 4, 4)
    weight_and_bias("backbone.embeddings.layernorm", WIDTHS[0])
    for stage, (depth, width) in enumerate(zip(DEPTHS, WIDTHS, strict=True)):
        if stage:
            weight_and_bias(f"backbone.encoder.stages.{stage}.downsampling_layer.0", WIDTHS[stage - 1])
            weight_and_bias(f"backbone.encoder.stages.{stage}.downsampling_layer.1", width, WIDTHS[stage - 1], 2, 2)
        for layer in range(depth):
            name = f"backbone.encoder.stages.{stage}.layers.{layer}"
            values(f"{name}.layer_scale_parameter", width)
            weight_and_bias(f"{name}.dwconv", width, 1, 7, 7)
            weight_and_bias(f"{name}.layernorm", width)
            weight_and_bias(f"{name}.pwconv1", 4 * width, width)
            weight_and_bias(f"{name}.pwconv2", width, 4 * width)
        weight_and_bias(f"backbone.hidden_states_norms.stage{stage + 1}", width)
    for head, channels in (("decode_head", CHANNELS), ("auxiliary_head", AUXILIARY)):
        weight_and_bias(f"{head}.classifier", n_classes, channels, 1, 1)
    for scale in range(4):
        conv_module(f"decode_head.psp_modules.{scale}.1", CHANNELS, WIDTHS[-1], 1)
    conv_module("decode_head.bottleneck", CHANNELS, WIDTHS[-1] + 4 * CHANNELS, 3)
    for level in range(3):
        conv_module(f"decode_head.lateral_convs.{level}", CHANNELS, WIDTHS[level], 1)
        conv_module(f"decode_head.fpn_convs.{level}", CHANNELS, CHANNELS, 3)
    conv_module("decode_head.fpn_bottleneck", CHANNELS, 4 * CHANNELS, 3)
    conv_module("auxiliary_head.convs.0", AUXILIARY, WIDTHS[2], 3)
    return state


def expected_features(state: dict[str, Tensor], frames: Tensor) -> Tensor:
    """The decoder's features in front of the classifier, by the names of the file: ConvNeXt, norms, UPerNet."""

    def of(name: str) -> tuple[Tensor, Tensor]:
        return state[f"{name}.weight"], state[f"{name}.bias"]

    def norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x.permute(0, 2, 3, 1), x.shape[1:2], *of(name), eps=1e-6).permute(0, 3, 1, 2)

    def conv_module(x: Tensor, name: str) -> Tensor:
        kernel, batch = state[f"{name}.conv.weight"], f"{name}.batch_norm"
        x = F.conv2d(x, kernel, padding=kernel.shape[-1] // 2)
        return F.batch_norm(x, state[f"{batch}.running_mean"], state[f"{batch}.running_var"], *of(batch)).relu()

    def resized(x: Tensor, like: Tensor) -> Tensor:
        return F.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=False)

    x = norm(F.conv2d(frames, *of("backbone.embeddings.patch_embeddings"), stride=4), "backbone.embeddings.layernorm")
    levels = []
    for stage, depth in enumerate(DEPTHS):
        if stage:
            name = f"backbone.encoder.stages.{stage}.downsampling_layer"
            x = F.conv2d(norm(x, f"{name}.0"), *of(f"{name}.1"), stride=2)
        for layer in range(depth):
            name = f"backbone.encoder.stages.{stage}.layers.{layer}"
            y = norm(F.conv2d(x, *of(f"{name}.dwconv"), padding=3, groups=x.shape[1]), f"{name}.layernorm")
            y = F.linear(F.gelu(F.linear(y.permute(0, 2, 3, 1), *of(f"{name}.pwconv1"))), *of(f"{name}.pwconv2"))
            x = x + (state[f"{name}.layer_scale_parameter"] * y).permute(0, 3, 1, 2)
        levels.append(norm(x, f"backbone.hidden_states_norms.stage{stage + 1}"))
    coarse = levels[-1]
    pools = [
        resized(conv_module(F.adaptive_avg_pool2d(coarse, size), f"decode_head.psp_modules.{k}.1"), coarse)
        for k, size in enumerate((1, 2, 3, 6))
    ]
    merged = [conv_module(torch.cat([coarse, *pools], 1), "decode_head.bottleneck")]
    for level in (2, 1, 0):
        lateral = conv_module(levels[level], f"decode_head.lateral_convs.{level}")
        merged.insert(0, lateral + resized(merged[0], lateral))
    fine = [conv_module(merged[level], f"decode_head.fpn_convs.{level}") for level in range(3)]
    stacked = torch.cat([resized(level, fine[0]) for level in (*fine, merged[3])], 1)
    return conv_module(stacked, "decode_head.fpn_bottleneck")


@pytest.fixture
def folder(tmp_path, monkeypatch: pytest.MonkeyPatch):
    for module in (pretrained, whole):
        monkeypatch.setattr(module, "WEIGHTS_FOLDER", tmp_path)
    return tmp_path


@torch.no_grad()
def test_loaded_network_computes_what_the_file_says_and_classifiers_start_fresh(folder) -> None:
    state, frames = published(), torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    save_file(state, folder / "upernet-convnext-tiny.safetensors")
    model = ImageSegmenter(SPEC, n_classes=7).eval()
    expected = expected_features(state, frames)
    torch.testing.assert_close(model.decode_features(model.encode(frames)), expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(model.auxiliary_head[0].weight, state["auxiliary_head.convs.0.conv.weight"])
    for ours, theirs in ((model.classifier, "decode_head"), (model.auxiliary_head[3], "auxiliary_head")):
        assert not torch.equal(ours.weight, state[f"{theirs}.classifier.weight"]) and ours.bias.count_nonzero() == 0


def test_without_auxiliary_head_its_entries_are_left_out(folder) -> None:
    torch.save(published(), folder / "upernet-convnext-tiny.pth")
    model = ImageSegmenter(SPEC.model_copy(update={"auxiliary_channels": 0}), n_classes=5)
    assert model.auxiliary_head is None


@pytest.mark.parametrize(("entry", "value"), [
    ("decode_head.bottleneck.conv.weight", None), ("decode_head.fpn_convs.1.batch_norm.running_var", None),
    ("backbone.embeddings.layernorm.bias", torch.zeros(5)), ("backbone.pooler.weight", torch.zeros(5)),
])
def test_a_file_that_does_not_fit_is_refused(folder, entry: str, value: Tensor | None) -> None:
    state = published() | {entry: value}
    save_file({name: each for name, each in state.items() if each is not None}, folder / "upernet-convnext-tiny.safetensors")
    with pytest.raises(WeightsError, match=r"upernet-convnext-tiny\.safetensors: .*(fit tu-convnext_tiny|pooler)"):
        ImageSegmenter(SPEC, n_classes=7)


def test_batch_counters_may_be_missing(folder) -> None:
    state = {name: value for name, value in published().items() if not name.endswith("num_batches_tracked")}
    save_file(state, folder / "upernet-convnext-tiny.safetensors")
    ImageSegmenter(SPEC, n_classes=7)


def test_what_starts_trained() -> None:
    names = [name for name, _ in ImageSegmenter(SPEC, 3, load_weights=False).named_parameters()]
    fresh = {name for name in names if not whole.starts_trained(name, SPEC)}
    assert fresh == {f"{head}.{kind}" for head in ("classifier", "auxiliary_head.3") for kind in ("weight", "bias")}
    encoder = SPEC.model_copy(update={"checkpoint": None})
    assert {name for name in names if whole.starts_trained(name, encoder)} == {n for n in names if n.startswith("encoder.")}
    assert not any(whole.starts_trained(name, encoder.model_copy(update={"weights": "none"})) for name in names)


def test_older_repositories_hold_the_other_format(folder, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(repository: str, name: str) -> str:
        if name == "model.safetensors":
            raise EntryNotFoundError("404")
        torch.save(published(), folder / name)
        return str(folder / name)

    monkeypatch.setattr(whole, "hf_hub_download", download)
    weights = whole.start_weights("convnext_s", SPEC)
    weights.fetch()
    assert weights.found() == [folder / "upernet-convnext-tiny.pth"] and weights.in_place()


def test_no_network_says_what_to_put_where(folder, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: object) -> None:
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(whole, "hf_hub_download", offline)
    monkeypatch.setattr(whole, "try_to_load_from_cache", lambda *args: None)
    with pytest.raises(WeightsError, match=r"put model\.safetensors of huggingface\.co/owner/upernet-convnext-tiny at"):
        ImageSegmenter(SPEC, n_classes=7)


def test_a_whole_network_has_norms_and_comes_from_the_hub() -> None:
    for change in ({"feature_norm": False}, {"arch": "segformer"}, {"weights": "none"}, {"checkpoint": "no-owner"}):
        with pytest.raises(ValueError, match="checkpoint"):
            ImageModelSpec(**SPEC.model_dump() | change)
