"""The library's log for people: one line a message, without times and levels."""

from __future__ import annotations

import logging
import sys
from typing import TextIO


def configure_logging(level: int = logging.INFO, stream: TextIO | None = None) -> None:
    """Send the log of `sspcore` to a stream (default: standard output, as notebooks want it); once set, it stays."""
    logger = logging.getLogger("sspcore")
    logger.setLevel(level)
    if not logger.handlers:
        handler = logging.StreamHandler(stream or sys.stdout)
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
        logger.propagate = False
