"""Arrays to and from Flower's bytes are those of NumPy and Flower themselves."""

import numpy as np
import pytest
from flwr.app import Array
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fgl_flower.wire.npy import array_of, values

ANY = hnp.arrays(
    dtype=st.sampled_from([np.float32, np.float64, np.float16, np.int64, np.uint8, np.bool_]),
    shape=hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
)


@given(ANY)
def test_the_same_bytes_and_values_as_by_flower(numbers: np.ndarray) -> None:
    ours, flowers = array_of(numbers), Array(numbers)
    assert (ours.dtype, ours.shape, ours.stype, ours.data) == (
        flowers.dtype,
        flowers.shape,
        flowers.stype,
        flowers.data,
    )
    np.testing.assert_array_equal(values(flowers), numbers)
    assert values(flowers).dtype == numbers.dtype
    assert not values(flowers).flags.writeable


@given(ANY)
def test_any_memory_layout_is_sent_in_c_order(numbers: np.ndarray) -> None:
    turned = np.array(numbers, order="F")
    assert array_of(turned).data == Array(np.ascontiguousarray(numbers).reshape(numbers.shape)).data
    np.testing.assert_array_equal(values(Array(turned)), numbers)  # Flower sends Fortran order as it is


def test_bytes_that_are_no_array_are_refused() -> None:
    with pytest.raises(ValueError, match="allow_pickle"):
        values(Array("float32", (2,), "numpy.ndarray", b"no array at all"))
