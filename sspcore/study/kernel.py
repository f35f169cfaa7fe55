"""How notebook kernels are started by the runner: without a notice that nobody who runs notebooks locally can act on.

Kernels import this module before anything else, so it stays light.
"""

from __future__ import annotations

import logging


class WithoutTransportNotice(logging.Filter):
    """Drops ipykernel's notice that a kernel talks to its client over TCP (here: on one machine) and nothing else."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith("Kernel is running over TCP without encryption")


LOGGING = {
    "filters": {"transport": {"()": f"{__name__}.{WithoutTransportNotice.__name__}"}},
    "handlers": {"console": {"filters": ["transport"]}},
}
KERNEL_ARGUMENTS = (f"--IPKernelApp.logging_config={LOGGING}",)
