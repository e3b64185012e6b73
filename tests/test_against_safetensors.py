"""Our files against the safetensors package. Not fast: only one Python has the package."""

import numpy as np
import pytest
from hypothesis import given
from test_tensors import named_arrays, write

from mr_gradient import tensors


@pytest.fixture(scope="module")
def package():
    """Imported late: the fast tests collect this file where the package is absent."""
    import safetensors
    import safetensors.numpy
    return safetensors


def same(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].tobytes() == array.tobytes()


@given(named=named_arrays)
def test_the_package_reads_what_we_write(package, scratch_file, named):
    write(scratch_file, named, {"format": "ours"})
    same(package.numpy.load_file(scratch_file), named)
    with package.safe_open(scratch_file, framework="numpy") as file:
        assert file.metadata() == {"format": "ours"}


@given(named=named_arrays)
def test_we_read_what_the_package_writes(package, scratch_file, named):
    package.numpy.save_file({name: np.ascontiguousarray(array).reshape(array.shape)
                             for name, array in named.items()}, scratch_file, {"format": "theirs"})
    found, metadata = tensors.read(scratch_file)
    same(found, named)
    assert metadata == {"format": "theirs"}
