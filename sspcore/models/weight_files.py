"""Pretrained weights as files: where they come from, whether they are there, and fetching them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sspcore.core.files import copy_file
from sspcore.core.paths import WEIGHTS_FOLDER
from sspcore.models.encoder_files import HubWeights, PackageWeights, in_folder
from sspcore.motion.flow import RAFT_URL, RAFT_WEIGHTS, fetch_raft_weights
from sspcore.motion.registration import LIGHTGLUE_FILES, build_registrator, torch_cache


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
        return in_folder(self.found())

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
        return in_folder(self.found())

    def fetch(self) -> None:
        """Let kornia fetch them and copy them to data/weights/. Raises: SspError."""
        build_registrator("lightglue")
        for pattern in LIGHTGLUE_FILES:
            for path in torch_cache().glob(pattern):
                copy_file(path, WEIGHTS_FOLDER / path.name)


Weights = HubWeights | PackageWeights | RaftWeights | LightGlueWeights
