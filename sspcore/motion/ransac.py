"""From matches to a registration as the reference has it: RANSAC's homography, whatever the frames say.

Source: METHOD section 2 and the reference's code; `Conventions.registration_rule` chooses between this and `fit_motion`.
"""

from __future__ import annotations

import cv2
import numpy as np

from sspcore.motion.fitting import RANSAC_PX, Points, Registration

MIN_MATCHES = 4  # that a homography needs


def fit_homography(previous_points: Points, current_points: Points) -> Registration:
    """RANSAC's homography; the identity, not ok, for fewer than MIN_MATCHES matches or a result that is no invertible map.

    Args:
        previous_points, current_points: matches (N, 2), (x, y) in pixels at full size.
    Returns: the same input gives the same output to the last bit: OpenCV's RANSAC starts from a fixed seed of its own.
    """
    matches = (previous_points, current_points)
    H, mask = cv2.findHomography(*matches, cv2.RANSAC, RANSAC_PX) if len(previous_points) >= MIN_MATCHES else (None, None)
    if H is None or not np.isfinite(H).all() or H[2, 2] == 0 or np.linalg.matrix_rank(H) < 3:
        return Registration(np.eye(3), False, 0, len(previous_points), *matches, np.zeros(len(previous_points), bool))
    inliers = mask[:, 0].astype(bool)
    return Registration(H / H[2, 2], True, int(inliers.sum()), len(previous_points), *matches, inliers, "homography")
