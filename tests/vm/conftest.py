"""`make test-vm`: what runs emulated takes too long for every change. Root needed."""

import os

import pytest

from halab.image import Image
from halab.settings import Settings


@pytest.fixture(scope="session", autouse=True)
def golden() -> Image:
    if os.geteuid() != 0:
        pytest.skip("live labs need root")
    made = Image(Settings())
    made.build(lambda text: None)
    return made
