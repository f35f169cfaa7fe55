"""One training process of several, started by torchrun (`sspcore.training.distributed.launch`)."""

from __future__ import annotations

import dataclasses
import logging
import sys
from pathlib import Path
from typing import Any

from sspcore.core.lock import stay_in_run
from sspcore.core.paths import Workspace
from sspcore.core.progress import configure_logging
from sspcore.study.profiles import Profile
from sspcore.study.stages import Study
from sspcore.training.distributed import joined, run_rank
from sspcore.training.loop import train


def rank(job: dict[str, Any], folder: Path) -> None:
    """One of the processes: train what the job names."""
    stay_in_run()
    profile, root = Profile.model_validate(job["profile"]), job["release_root"]
    with joined(job["device"]) as (world, device):
        configure_logging(logging.INFO if world.is_main else logging.WARNING)
        workspace = Workspace(profile.folder, Path(job["root"]))
        study = Study(profile, job["seed"], None if root is None else Path(root), workspace, device=device)
        train(dataclasses.replace(study.training(job["system"], job["dataset"], folder), world=world))


if __name__ == "__main__":
    sys.exit(run_rank(rank))
