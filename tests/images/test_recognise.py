"""A picture is what its bytes are."""

from __future__ import annotations

import pytest
from PIL import Image

from flux2_mcp.errors import PictureUnavailable
from flux2_mcp.images import recognise
from tests.images.examples import GIF, JPEG, PNG, WEBP, bomb, encoded, noise, plain


@pytest.mark.parametrize(
    ("data", "media_type", "extension"),
    [
        (PNG, "image/png", ".png"),
        (JPEG, "image/jpeg", ".jpg"),
        (WEBP, "image/webp", ".webp"),
        (GIF, "image/gif", ".gif"),
    ],
)
def test_the_four_formats_are_recognised(data: bytes, media_type: str, extension: str) -> None:
    picture = recognise(data)

    assert (media_type, extension) == (picture.media_type, picture.extension)
    assert (picture.width, picture.height) == (30, 20)
    assert data is picture.data


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "The file is empty."),
        (b"<!DOCTYPE html><html><body>Not found", "this is a web page (HTML)."),
        (b"\xef\xbb\xbf\n <HTML>", "this is a web page (HTML)."),
        (b'<?xml version="1.0"?>\n<!-- made by hand -->\n<svg xmlns="x"/>', "this is an SVG drawing."),
        (b"<svg>", "this is an SVG drawing."),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "this is an XML document."),
        (b'{"error": "expired"}', "this is a JSON text."),
        (b"\x00\x00\x00\x1cftypavif", "this is an AVIF picture."),
        (b"\x00\x00\x00\x1cftypheic", "this is a HEIC picture."),
        (b"%PDF-1.7", "this is a PDF document."),
        (b"not a picture", "this is something else."),
        (b"\x89PN", "this is something else."),
    ],
)
def test_what_is_no_picture_is_called_by_its_name(data: bytes, said: str) -> None:
    with pytest.raises(PictureUnavailable) as caught:
        recognise(data)

    assert caught.value.message.endswith(said)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_a_file_that_was_cut_off_is_not_a_picture(kind: str, share: float) -> None:
    """A download that ended early has the right first bytes."""
    data = encoded(Image.frombytes("RGB", (256, 256), noise(256).data[-196_608:]), kind)

    with pytest.raises(PictureUnavailable, match="cut off or damaged"):
        recognise(data[: int(len(data) * share)])


@pytest.mark.parametrize("signature", [PNG[:8], JPEG[:3], WEBP[:12], GIF[:6]])
def test_the_first_bytes_alone_are_not_a_picture(signature: bytes) -> None:
    with pytest.raises(PictureUnavailable, match="cut off or damaged"):
        recognise(signature)


@pytest.mark.parametrize("edge", [8_001, 12_000, 30_000])
def test_a_decompression_bomb_is_not_unpacked(edge: int) -> None:
    """Pillow has limits of its own at 89 and 179 million pixels; ours comes first, and reads the same behind them."""
    with pytest.raises(PictureUnavailable, match="more than 64 million pixels"):
        recognise(bomb(edge, edge))


def test_the_pixel_limit_can_be_lower() -> None:
    with pytest.raises(PictureUnavailable, match=r"more than 0\.0005 million pixels"):
        recognise(PNG, max_pixels=500)


def test_bytes_stay_out_of_the_repr() -> None:
    """A picture may end up in a traceback."""
    picture = recognise(encoded(plain(), "PNG"))

    assert repr(picture) == "Picture(media_type='image/png', width=30, height=20)"
