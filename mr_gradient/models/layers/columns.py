"""im2col: the windows that a kernel sees, as the rows of a matrix (Chellapilla et al. 2006).

Measured by benchmarks/convolution.py: this and one product a group of images reach 70 to 90% of
the speed of the product alone where there are 32 channels or more; sums of shifted products, which
copy nothing, 40 to 50%, and a tenth of this with few channels.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import as_strided

from mr_gradient.models.layers.base import Workspace

#: The columns of a group of images, with what comes of them, fill at most this many bytes, or are
#: those of one image: they are written and read at once, and should stay in the second-level cache.
GROUP_BYTES = 1 << 20

#: A kernel's row of fewer numbers is too short a run to copy: there, numbers of the same place in
#: the kernel make a row of the matrix, along the images' width, and its transpose is returned.
_SHORT_RUN = 12


def columns(images: np.ndarray, kernel: tuple[int, int], stride: tuple[int, int],
            workspace: Workspace, role: str = "columns") -> np.ndarray:
    """(n places, height width channels of the kernel) from images (n, height, width, channels).

    ``n places`` counts images, rows and columns of the result; it is a buffer of the workspace, or
    a view of the images where the kernel is one number wide and high.
    """
    n, height, width, channels = images.shape
    if kernel == stride == (1, 1) and images.flags.c_contiguous:
        return images.reshape(-1, channels)
    places = n, (height - kernel[0]) // stride[0] + 1, (width - kernel[1]) // stride[1] + 1
    of_image, of_row, of_column, of_channel = images.strides
    steps = of_image, of_row * stride[0], of_column * stride[1]
    within = of_row, of_column, of_channel
    if kernel[1] * channels < _SHORT_RUN:
        matrix = workspace.array(role, (*kernel, channels, *places))
        np.copyto(matrix, as_strided(images, matrix.shape, within + steps))
        return matrix.reshape(-1, places[0] * places[1] * places[2]).T
    matrix = workspace.array(role, (*places, *kernel, channels))
    np.copyto(matrix, as_strided(images, matrix.shape, steps + within))
    return matrix.reshape(-1, kernel[0] * kernel[1] * channels)


def bordered(images: np.ndarray, border: tuple[int, int], workspace: Workspace,
             role: str) -> np.ndarray:
    """The images with rows and columns of zeros around, in a buffer."""
    n, height, width, channels = images.shape
    above, left = border
    shape = n, height + 2 * above, width + 2 * left, channels
    padded = workspace.array(role, shape, zeros=True)
    padded[:, above:above + height, left:left + width] = images
    return padded
