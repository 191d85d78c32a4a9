"""The middle planes of boxes, for the eye."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from halcmd.subtomograms import Boxes

_SMOOTHING = 1.0  # pixels


def middle_planes(boxes: Boxes, rows: NDArray[np.intp]) -> NDArray[np.float32]:
    """The central planes of each particle, smoothed by a pixel, one box in memory.

    Returns
    -------
    ndarray, shape (n, 3, edge, edge), float32
        y x, z x, z y.
    """
    middle = boxes.box // 2
    planes = np.empty((len(rows), 3, boxes.box, boxes.box), dtype=np.float32)
    for place, row in enumerate(rows):
        smooth = gaussian_filter(boxes.read(np.array([row]))[0], _SMOOTHING)
        planes[place] = smooth[middle], smooth[:, middle], smooth[:, :, middle]
    return planes
