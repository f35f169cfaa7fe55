"""Files of pretrained weights that motion is estimated with: RAFT's, and DISK's and LightGlue's."""

from __future__ import annotations

import logging
from pathlib import Path
from urllib.error import URLError

import torch

from sspcore.core.checksums import require_checksum
from sspcore.core.errors import WeightsError
from sspcore.core.files import copy_file
from sspcore.core.paths import WEIGHTS_FOLDER

log = logging.getLogger(__name__)

# torchvision's Raft_Large_Weights.C_T_V1, its port of the authors' raft-things, which the reference uses: FlyingChairs, then
# FlyingThings3D.
RAFT_URL = "https://download.pytorch.org/models/raft_large_C_T_V1-22a6c225.pth"
RAFT_WEIGHTS = WEIGHTS_FOLDER / RAFT_URL.rpartition("/")[2]

# As kornia's loaders name them; its versions differ in the matcher's ending.
LIGHTGLUE_FILES = ("depth-save*", "disk_lightglue*")


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


def offer_lightglue() -> None:
    """Copy the files of data/weights/ to where kornia looks before it goes to the network."""
    for pattern in LIGHTGLUE_FILES:
        for path in WEIGHTS_FOLDER.glob(pattern):
            if not (torch_cache() / path.name).is_file():
                copy_file(path, torch_cache() / path.name)
