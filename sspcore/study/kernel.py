"""The kernel of notebooks: `python3` is the interpreter that runs sspcore, whatever other installations offer by that name.

Jupyter looks for kernels on JUPYTER_PATH (set by module systems and JupyterHub), in the user's folder, and only then in the
environment that it runs in: a `python3` that is found there may belong to an interpreter without sspcore.
"""

from __future__ import annotations

import os
import sys

from ipykernel.kernelspec import RESOURCES, get_kernel_dict
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import NATIVE_KERNEL_NAME, KernelSpec, KernelSpecManager
from traitlets import default


class OwnKernels(KernelSpecManager):
    """Kernels that Jupyter finds, but for `python3`: that is this interpreter."""

    def find_kernel_specs(self) -> dict[str, str]:
        return super().find_kernel_specs() | {NATIVE_KERNEL_NAME: RESOURCES}

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        if kernel_name != NATIVE_KERNEL_NAME:
            return super().get_kernel_spec(kernel_name)
        return self.kernel_spec_class(resource_dir=RESOURCES, **get_kernel_dict())


class OwnKernelManager(AsyncKernelManager):
    """Starts kernels of `OwnKernels`."""

    @default("kernel_spec_manager")
    def _own_kernels(self) -> OwnKernels:
        return OwnKernels(parent=self)


def jupyter_path() -> str:
    """JUPYTER_PATH with this environment in front, so that templates of pages are those of its own packages too."""
    own = os.path.join(sys.prefix, "share", "jupyter")
    return os.pathsep.join([own, *filter(None, [os.environ.get("JUPYTER_PATH")])])
