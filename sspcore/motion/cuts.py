"""Scene cuts between two frames. Needs NumPy and OpenCV alone: an exported bundle brings this module along."""

from __future__ import annotations

import cv2
import numpy as np

CUT_CORRELATION = 0.5  # neighbouring frames of real flights: 0.89 and more
CUT_DIFFERENCE = 20.0  # grey levels, root mean square: of different places 37 and more, of rippled water 8


def looks_like_cut(previous: np.ndarray, current: np.ndarray) -> bool:
    """Whether two frames are so unlike that the past is of no use.

    Small grey images are compared: they correlate by less than CUT_CORRELATION and differ by CUT_DIFFERENCE. Without the second
    the noise of frames that show nothing else (water, fog, one colour) would count as a cut.
    """
    a, b = (
        cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (32, 20), interpolation=cv2.INTER_AREA).astype(np.float32)
        for image in (previous, current)
    )
    if np.sqrt(((a - b) ** 2).mean()) < CUT_DIFFERENCE:
        return False
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return norm == 0 or float((a * b).sum()) / norm < CUT_CORRELATION
