import os

import pytest

from edge.npu.models import plan, serialise
from edge.toolchains import environment
from firnline.errors import DeliveryError
from tests.edge.npu.programs import autoencoder


@pytest.fixture(scope="session")
def tools():
    """The NPU tools; without them these tests skip and say so, save where nothing may skip."""
    try:
        return environment("npu")
    except DeliveryError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def known(tools):
    """The autoencoder, and both files of it."""
    program = autoencoder()
    made = serialise({"tosa": plan(program, "tosa"), "tflite": plan(program, "tflite")})
    return program, made["tosa"], made["tflite"]
