"""How far a point of (TC, mIoU) lies above the curve of constant alphas."""

from __future__ import annotations

from collections.abc import Sequence

CURVE_NOTE = (
    "Above the curve: mIoU minus that of the constant-alpha curve of the system's own image model at the same TC, seed by "
    "seed, interpolated linearly between neighbouring alphas (the higher value where the curve doubles back). Beyond an end of "
    "the curve the mIoU of that end is taken. Such cases are marked: † less consistent than every point of the curve; ‡ more "
    "consistent than every point of it, so that no constant alpha tried reaches this TC."
)


def above_curve(curve: Sequence[tuple[float, float]], tc: float, miou: float) -> tuple[float, str]:
    """Signed distance of a point to a curve of (TC, mIoU), in mIoU at equal TC.

    Args:
        curve: at least one point, in the order of alpha.
    Returns: the distance, and "" within the curve's range, "below" or "beyond" where its end with the least or the most
        TC was held.
    """
    spans = [
        a[1] if a[0] == b[0] else a[1] + (b[1] - a[1]) * (tc - a[0]) / (b[0] - a[0])
        for a, b in zip(curve[:-1], curve[1:], strict=True) if min(a[0], b[0]) <= tc <= max(a[0], b[0])
    ]
    if spans:
        return miou - max(spans), ""
    least, most = min(curve), max(curve)
    return (miou - least[1], "below") if tc < least[0] else (miou - most[1], "beyond")
