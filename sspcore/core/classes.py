"""What a label map's numbers mean: class names, colours, and which things move by themselves.

Class ids run from 0 without gaps; IGNORE (255) marks pixels that count neither in a loss nor in a metric.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
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

    @property
    def alone(self) -> ClassSpec:
        """The classes without what a kind of description adds to them."""
        return ClassSpec(self.name, self.title, self.classes, self.palette, self.moving)

    def id_of(self, class_name: str) -> int:
        """Class id of a class name."""
        return self.classes.index(class_name)

    @property
    def moving_ids(self) -> tuple[int, ...]:
        return tuple(self.id_of(name) for name in self.moving)


def class_spec(classes: ClassSpec | Sequence[str] | int) -> ClassSpec:
    """A description of classes given by names or by their number only: colours far apart, nothing moves by itself."""
    if isinstance(classes, ClassSpec):
        return classes
    names = tuple(f"class {number}" for number in range(classes)) if isinstance(classes, int) else tuple(classes)
    hues = ((0.55 + 0.618034 * number) % 1 for number in range(len(names)))  # steps of the golden ratio stay apart
    shades = (colorsys.hsv_to_rgb(hue, 0.75, (0.85, 0.6)[number % 2]) for number, hue in enumerate(hues))
    palette = tuple((round(255 * r), round(255 * g), round(255 * b)) for r, g, b in shades)
    return ClassSpec("classes", f"{len(names)} classes", names, palette, ())


def colourise(ids: np.ndarray, spec: ClassSpec) -> np.ndarray:
    """(H, W) class ids -> (H, W, 3) uint8 RGB in the display palette; ignored pixels black."""
    table = np.zeros((256, 3), np.uint8)
    table[: spec.n_classes] = spec.palette
    return table[ids]
