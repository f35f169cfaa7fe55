"""What a label map's numbers mean: class names, colours, and which things move by themselves.

Class ids run from 0 without gaps; IGNORE (255) marks pixels that count neither in a loss nor in a metric.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

IGNORE = 255

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class ClassSpec:
    """The classes of a model or a data set.

    Attributes:
        name: key used in profiles, folders and tables ("uavid", "ruralscapes").
        title: name for headings.
        classes: class names; the position is the class id.
        palette: display colour (RGB) of each class.
        moving: classes of things that move by themselves (for `miou_moving`).
    """

    name: str
    title: str
    classes: tuple[str, ...]
    palette: tuple[Colour, ...]
    moving: tuple[str, ...]

    @property
    def n_classes(self) -> int:
        return len(self.classes)

    def id_of(self, class_name: str) -> int:
        """Class id of a class name."""
        return self.classes.index(class_name)

    @property
    def moving_ids(self) -> tuple[int, ...]:
        return tuple(self.id_of(name) for name in self.moving)


def colourise(ids: np.ndarray, spec: ClassSpec) -> np.ndarray:
    """(H, W) class ids -> (H, W, 3) uint8 RGB in the display palette; ignored pixels black."""
    table = np.zeros((256, 3), np.uint8)
    table[: spec.n_classes] = spec.palette
    return table[ids]
