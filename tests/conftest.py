"""One numerical setting for all tests. JAX reads it when it is first imported, which most tests never do."""

import os

import pytest
from hypothesis import settings

os.environ["JAX_ENABLE_X64"] = "1"
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"
os.environ["JAX_NUMPY_DTYPE_PROMOTION"] = "strict"
os.environ["DPL_NO_CACHE"] = "1"

settings.register_profile("dpl", deadline=None)  # a first compilation takes seconds
settings.load_profile("dpl")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--accept", action="store_true", help="write what is rendered as the expected output")


@pytest.fixture
def accept(request: pytest.FixtureRequest) -> bool:
    """Whether golden files are to be rewritten."""
    return request.config.getoption("--accept")
