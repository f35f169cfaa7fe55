"""Parts of the benchmark of which the test says what they do; a worker imports this module."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import torch

from sspcore.core.errors import SspError
from sspcore.study.benchmark.part import Setting


def act(deed: str, setting: Setting) -> Iterator[dict[str, Any]]:
    """A row with the process that made it, then the deed."""
    yield {"process": os.getpid(), "share": setting.share, "within": setting.within}
    match deed:
        case "refuse":
            raise SspError("it refuses")
        case "memory":
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")
        case "cuda":
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        case "break":
            raise ValueError("it\nbreaks")
        case "die":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "hang":
            time.sleep(600)
