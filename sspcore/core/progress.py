"""Progress bars: widgets in an interactive notebook, plain text where a run is watched from a terminal.

Nobody looks at the widgets of a notebook that papermill executes: `sspcore.study.reproduce` sets SSPCORE_PROGRESS=plain in
its kernels and passes their text on to the terminal.
"""

from __future__ import annotations

import os

if os.environ.get("SSPCORE_PROGRESS") == "plain":
    from tqdm.std import tqdm
else:
    from tqdm.auto import tqdm

__all__ = ["tqdm"]
