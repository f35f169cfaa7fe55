"""`python -m sspcore.weights [--fetch]`: which pretrained weights a profile needs, where they are, and fetching them.

    ./reproduce.sh weights            one line a file: there or missing, size, SHA-256
    ./reproduce.sh weights --fetch    fetch what is missing into data/weights/

Loaders look into data/weights/ before they ask a hub, so that folder, filled on another machine, serves one without a
network. A checksum is that of the file as its hub ships it; where one was published with the file, the two are compared.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from huggingface_hub import hf_hub_download, try_to_load_from_cache
from segmentation_models_pytorch.encoders import encoders
from timm.models import get_pretrained_cfg

from sspcore.checksums import require_checksum, sha256
from sspcore.errors import SspError, WeightsError
from sspcore.flow import RAFT_URL, RAFT_WEIGHTS, fetch_raft_weights
from sspcore.models.image import ImageModelSpec
from sspcore.models.weights import PYPI, WEIGHTS_FOLDER
from sspcore.profiles import Profile, load_profile
from sspcore.registration import build_registrator
from sspcore.runs import atomic_file

HUB_FILE = "model.safetensors"
# As kornia's loaders name them; its versions differ in the matcher's ending.
LIGHTGLUE_FILES = ("depth-save*", "disk_lightglue*")


@dataclass(frozen=True)
class HubWeights:
    """An encoder's weights on the Hugging Face hub, in the layout that its library's loader reads.

    Attributes:
        role: of the image model in the profile.
        name: of the encoder; the local file is `<name>.safetensors`.
        repository, revision: on the hub.
    """

    role: str
    name: str
    repository: str
    revision: str | None = None

    @property
    def source(self) -> str:
        return f"huggingface.co/{self.repository}"

    def found(self) -> list[Path]:
        """The file in data/weights/, else in the hub's cache, where loaders find it too; empty if in neither."""
        local = [path for path in map(self._local, (".safetensors", ".pth")) if path.is_file()]
        cached = try_to_load_from_cache(self.repository, HUB_FILE, revision=self.revision)
        return local[:1] or ([Path(cached)] if isinstance(cached, str) else [])

    def in_place(self) -> bool:
        """Whether there is nothing to fetch: a copy in data/weights/."""
        return _in_folder(self.found())

    def fetch(self) -> None:
        """Put the file into data/weights/. Raises: WeightsError."""
        try:
            path = hf_hub_download(self.repository, HUB_FILE, revision=self.revision)
        except Exception as error:  # the client lets through what its HTTP library raises, of many kinds
            reason = " ".join(str(error).split())[:120]
            raise WeightsError(
                f"{self.name}: cannot be fetched ({type(error).__name__}: {reason}); connect to a network, or put "
                f"{HUB_FILE} of {self.source} at {self._local('.safetensors')}"
            ) from error
        require_checksum(Path(path))
        _copy(Path(path), self._local(".safetensors"))

    def _local(self, suffix: str) -> Path:
        return WEIGHTS_FOLDER / f"{self.name}{suffix}"


@dataclass(frozen=True)
class PackageWeights:
    """An encoder's weights in a package of the index, which comes with the environment."""

    role: str
    name: str

    @property
    def source(self) -> str:
        return f"package {PYPI[self.name].package}"

    def found(self) -> list[Path]:
        """The package's file; empty if it is not installed."""
        entry = PYPI[self.name]
        if importlib.util.find_spec(entry.module) is None:
            return []
        return [Path(getattr(importlib.import_module(entry.module), entry.file_class).get_model_file_path())]

    def in_place(self) -> bool:
        """Whether there is nothing to fetch."""
        return bool(self.found())

    def fetch(self) -> None:
        """Nothing to fetch: raises WeightsError."""
        raise WeightsError(f"{self.name}: {self.source} is not installed; run ./reproduce.sh setup")


@dataclass(frozen=True)
class RaftWeights:
    """Optical flow, from torchvision's server."""

    role: str = "flow"
    name: str = "raft_large"
    source: str = RAFT_URL

    def found(self) -> list[Path]:
        """The file in data/weights/."""
        return [RAFT_WEIGHTS] if RAFT_WEIGHTS.is_file() else []

    def in_place(self) -> bool:
        """Whether there is nothing to fetch: a copy in data/weights/."""
        return _in_folder(self.found())

    def fetch(self) -> None:
        """Put the file into data/weights/. Raises: WeightsError."""
        fetch_raft_weights()


@dataclass(frozen=True)
class LightGlueWeights:
    """DISK and LightGlue, the paper's registration, through kornia, which is not among the pins."""

    role: str = "registration: lightglue"
    name: str = "DISK, LightGlue"
    source: str = "kornia"

    def found(self) -> list[Path]:
        """Both files in data/weights/, else in torch's cache, where kornia finds them; empty unless both are there."""
        for folder in (WEIGHTS_FOLDER, torch_cache()):
            files = [path for pattern in LIGHTGLUE_FILES for path in sorted(folder.glob(pattern))[:1]]
            if len(files) == len(LIGHTGLUE_FILES):
                return files
        return []

    def in_place(self) -> bool:
        """Whether there is nothing to fetch: a copy in data/weights/."""
        return _in_folder(self.found())

    def fetch(self) -> None:
        """Let kornia fetch them and copy them to data/weights/. Raises: SspError."""
        build_registrator("lightglue")
        for pattern in LIGHTGLUE_FILES:
            for path in torch_cache().glob(pattern):
                _copy(path, WEIGHTS_FOLDER / path.name)


Weights = HubWeights | PackageWeights | RaftWeights | LightGlueWeights


def torch_cache() -> Path:
    """Where torch keeps the files that libraries fetch through it."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def offer_lightglue() -> None:
    """Lay the files of data/weights/ where kornia looks before it goes to the network."""
    for pattern in LIGHTGLUE_FILES:
        for path in WEIGHTS_FOLDER.glob(pattern):
            if not (torch_cache() / path.name).is_file():
                _copy(path, torch_cache() / path.name)


def needed(profile: Profile) -> Iterator[Weights]:
    """The weights that a profile loads; LightGlue's only where it names that registration."""
    for role, spec in profile.models.items():
        if spec.weights != "none":
            yield encoder_weights(role, spec)
    if any(name.startswith("raft") for name in (profile.flow, profile.metric_flow)):
        yield RaftWeights()
    if profile.registration == "lightglue":
        yield LightGlueWeights()


def encoder_weights(role: str, spec: ImageModelSpec) -> Weights:
    """Where the weights of an image model's encoder come from."""
    name = spec.encoder.removeprefix("tu-")
    if spec.weights == "pypi":
        return PackageWeights(role, name)
    if spec.encoder.startswith("tu-"):
        return HubWeights(role, name, get_pretrained_cfg(name).hf_hub_id)
    settings = encoders[name]["pretrained_settings"]["imagenet"]
    return HubWeights(role, name, settings["repo_id"], settings["revision"])


def _in_folder(files: list[Path]) -> bool:
    return any(path.parent == WEIGHTS_FOLDER for path in files)


def _copy(source: Path, target: Path) -> None:
    with atomic_file(target) as temporary:
        shutil.copyfile(source, temporary)


def _describe(weights: Weights) -> Iterator[str]:
    files = weights.found()
    if not files:
        yield f"missing  {weights.name:<34} {weights.role:<14} {weights.source}"
    for path in files:
        yield f"there    {weights.name:<34} {weights.role:<14} {path} ({path.stat().st_size / 1e6:.1f} MB)"
        yield f"         sha256 {sha256(path)}"


def main(arguments: list[str] | None = None) -> int:
    """List or fetch; status 2 if something could not be fetched."""
    parser = argparse.ArgumentParser(prog="python -m sspcore.weights", description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="paper", help="whose weights (default: paper)")
    parser.add_argument("--fetch", action="store_true", help="fetch what is missing into data/weights/")
    parser.add_argument("--lightglue", action="store_true", help="DISK and LightGlue too, whatever the profile registers with")
    options = parser.parse_args(arguments)
    failed = False
    try:
        wanted = list(needed(load_profile(options.profile)))
    except SspError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if options.lightglue and LightGlueWeights() not in wanted:
        wanted.append(LightGlueWeights())
    for weights in wanted:
        try:
            for path in weights.found():
                require_checksum(path)
            if options.fetch and not weights.in_place():
                weights.fetch()
        except SspError as error:
            print(f"error: {error}", file=sys.stderr)
            failed = True
        print("\n".join(_describe(weights)), flush=True)
    return 2 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
