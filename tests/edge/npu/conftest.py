import os

import pytest

from edge.toolchains import environment
from firnline.errors import DeliveryError


@pytest.fixture(scope="session")
def tools():
    """The NPU tools; without them these tests skip and say so, save where nothing may skip."""
    try:
        return environment("npu")
    except DeliveryError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))
