"""One training process of several, started by torchrun (`sspcore.training.distributed.launch`)."""

from __future__ import annotations

import dataclasses
import logging
import sys
from pathlib import Path

from sspcore.core.errors import SspError
from sspcore.core.files import read_json
from sspcore.core.lock import stay_in_run
from sspcore.core.paths import Workspace
from sspcore.core.progress import configure_logging
from sspcore.study.profiles import Profile
from sspcore.study.stages import Study
from sspcore.training.distributed import JOB, joined
from sspcore.training.loop import train


def main(arguments: list[str] | None = None) -> int:
    """One of the processes of `launch`: train what the job file in the folder names. Status 2 after a known error."""
    (folder,) = map(Path, sys.argv[1:] if arguments is None else arguments)
    stay_in_run()
    try:
        job = read_json(folder / JOB)
        profile, root = Profile.model_validate(job["profile"]), job["release_root"]
        with joined(job["device"]) as (world, device):
            configure_logging(logging.INFO if world.is_main else logging.WARNING)
            workspace = Workspace(profile.name, Path(job["root"]))
            study = Study(profile, job["seed"], None if root is None else Path(root), workspace, device=device)
            train(dataclasses.replace(study.training(job["system"], job["dataset"], folder), world=world))
    except SspError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
