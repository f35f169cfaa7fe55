"""Labels in the forms that labelling tools write: images, LabelMe JSON, COCO JSON, CVAT's labelmap.txt.

Convention: (0, 0) is the outer corner of the first pixel, as in COCO, CVAT and LabelMe; pixel (row, column) has its centre at
x = column + 1/2, y = row + 1/2. It belongs to a shape if its centre lies inside.
"""

from sspcore.data.annotations import coco, cvat, labelme
from sspcore.data.annotations.images import read_label_image

__all__ = ["coco", "cvat", "labelme", "read_label_image"]
