"""What a run shows of itself: its log, and progress bars, as widgets in an interactive notebook, as plain text in a terminal.

Nobody looks at the widgets of a notebook that papermill executes: `sspcore.study.reproduce` sets SSPCORE_PROGRESS=plain in
its kernels and passes their text on to the terminal.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import TextIO

if os.environ.get("SSPCORE_PROGRESS") == "plain":
    from tqdm.std import tqdm
else:
    from tqdm.auto import tqdm

__all__ = ["configure_logging", "tqdm"]


def configure_logging(level: int = logging.INFO, stream: TextIO | None = None) -> None:
    """Send the log of `sspcore` to a stream (default: standard output, as notebooks want it); once set, it stays."""
    logger = logging.getLogger("sspcore")
    logger.setLevel(level)
    if not logger.handlers:
        handler = logging.StreamHandler(stream or sys.stdout)
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
        logger.propagate = False
