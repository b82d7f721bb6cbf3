"""One vector of many."""

import numpy as np
import pytest

from rkllmd.engine.pooling import pool
from rkllmd.errors import EngineError


def test_pooling():
    rows = np.array([[3, 4], [0, 0], [0, 2]], np.float32)
    assert list(pool(rows, "cls", normalize=True)) == pytest.approx([0.6, 0.8])
    assert list(pool(rows, "last", normalize=False)) == [0, 2]
    assert list(pool(rows, "mean", normalize=False)) == [1, 2]


def test_a_vector_of_nothing_keeps_its_length_and_one_that_is_not_finite_is_an_error():
    assert list(pool(np.zeros((1, 2), np.float32), "last", normalize=True)) == [0, 0]
    with pytest.raises(EngineError, match="no finite vector"):
        pool(np.array([[np.nan, 0]], np.float32), "mean", normalize=True)
