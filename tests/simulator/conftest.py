from __future__ import annotations

import io

import pytest
from PIL import Image


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def red_png() -> bytes:
    """A plain red picture, wider than high."""
    buffer = io.BytesIO()
    Image.new("RGB", (300, 200), (220, 20, 20)).save(buffer, "PNG")
    return buffer.getvalue()
