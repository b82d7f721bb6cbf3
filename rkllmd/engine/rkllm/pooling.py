"""Makes one vector of a text's hidden states."""

from array import array

import numpy as np

from rkllmd.native.handle import Rows
from rkllmd.runs import Pooling


def pool(rows: Rows, pooling: Pooling, *, normalize: bool) -> "array[float]":
    """The last row, the first one, or the mean of all, at length 1 where it is asked for."""
    values = np.frombuffer(rows.values, dtype="<f4").reshape(rows.count, rows.width)
    vector = {"last": values[-1], "cls": values[0], "mean": values.mean(axis=0)}[pooling]
    length = float(np.linalg.norm(vector))
    if normalize and length > 0:
        vector = vector / length
    return array("f", vector.astype("<f4").tobytes())
