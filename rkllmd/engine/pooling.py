"""Makes one vector of a text's hidden states."""

from array import array

import numpy as np
import numpy.typing as npt

from rkllmd.errors import Code, EngineError
from rkllmd.runs import Pooling


def pool(rows: npt.NDArray[np.float32], pooling: Pooling, *, normalize: bool) -> "array[float]":
    """The last row, the first one, or the mean of all, at length 1 where it is asked for."""
    vector = {"last": rows[-1], "mean": rows.mean(axis=0), "cls": rows[0]}[pooling]
    length = np.linalg.norm(vector)
    if not np.isfinite(length):
        raise EngineError(Code.ENGINE_ERROR, "The model computed no finite vector.")
    if normalize and length > 0:
        vector = vector / length
    return array("f", vector.astype("<f4").tobytes())
