"""Previews are small, upright, bare, and together within a budget."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from functools import partial

import pytest
from PIL import Image, ImageOps

from flux2_mcp import images
from flux2_mcp.images import Picture, Preview, previews, recognise
from tests.images.examples import encoded, noise, plain, shown

BUDGET = 700 * 1024
RED = (255, 0, 0)
WHITE = (255, 255, 255)
MIXES = [(number - twos, twos) for number in (1, 2, 5, 8) for twos in range(number + 1)]


def characters(made: Sequence[Preview]) -> int:
    return sum(len(b64encode(preview.data)) for preview in made)


def pixel(image: Image.Image, x: int, y: int) -> tuple[int, ...]:
    value = image.getpixel((x, y))
    assert isinstance(value, tuple)
    return value


def close(expected: tuple[int, ...], actual: tuple[int, ...]) -> bool:
    return all(abs(one - other) < 12 for one, other in zip(expected, actual, strict=True))


async def preview_of(image: Image.Image, kind: str = "PNG", *, edge: int = 1024, **options: object) -> Preview:
    """Made later and along with recognising it, which must be the same; a JPEG made later is decoded smaller."""
    data = encoded(image, kind, **options)
    (later,) = await previews([recognise(data)], edge=edge)
    along = recognise(data, previewer=partial(images.preview_of, edge=edge)).preview
    assert along
    assert (later.media_type, later.width, later.height) == (along.media_type, along.width, along.height)
    assert kind == "JPEG" or later == along
    return later


@pytest.mark.parametrize(("ones", "twos"), MIXES)
async def test_every_mix_of_noise_stays_within_the_budget(ones: int, twos: int) -> None:
    """Noise is the worst case for compression. 128 and 256 pixels stand for 1k and 2k here."""
    pictures = [noise(128)] * ones + [noise(256)] * twos

    made = await previews(pictures, edge=128, budget=BUDGET // 64)

    assert ones + twos == len(made)
    assert characters(made) <= BUDGET // 64
    assert {"image/jpeg"} == {recognise(preview.data).media_type for preview in made}


@pytest.mark.parametrize(("ones", "twos"), [(1, 0), (0, 4)])
async def test_full_size_noise_stays_within_the_budget(ones: int, twos: int) -> None:
    made = await previews([noise(1024)] * ones + [noise(2048)] * twos)

    assert BUDGET * 0.75 < characters(made) <= BUDGET


async def test_noise_with_alpha_stays_within_the_budget() -> None:
    made = await previews([noise(512, "RGBA")] * 8, edge=512, budget=BUDGET // 4)

    assert characters(made) <= BUDGET // 4
    assert {"image/webp"} == {preview.media_type for preview in made}


async def test_a_small_preview_leaves_its_share_to_the_others() -> None:
    alone, *_ = await previews([noise(256)] * 2, edge=256, budget=60_000)
    beside_a_small_one, small = await previews(
        [noise(256), recognise(encoded(plain(), "PNG"))], edge=256, budget=60_000
    )

    assert len(alone.data) < len(beside_a_small_one.data)
    assert (small.width, small.height) == (30, 20)


async def test_a_tiny_budget_is_kept_as_long_as_a_picture_fits_at_all() -> None:
    made = await previews([noise(512)] * 8, budget=8 * 1024)

    assert characters(made) <= 8 * 1024


async def test_the_order_is_kept() -> None:
    pictures = [recognise(encoded(plain(width, 10), "PNG")) for width in (900, 20, 500, 30, 10, 700)]

    made = await previews(pictures)

    assert [preview.width for preview in made] == [900, 20, 500, 30, 10, 700]


async def test_a_preview_that_was_made_along_is_not_made_again() -> None:
    picture = recognise(encoded(plain(900, 300), "PNG"), previewer=partial(images.preview_of, edge=512))

    assert [picture.preview] == await previews([picture], edge=512)
    assert (await previews([picture], edge=512))[0] is picture.preview
    assert (await previews([picture], edge=256))[0].width == 256
    assert (await previews([picture], edge=1024))[0].width == 900


async def test_a_picture_is_not_lost_to_its_preview() -> None:
    def fails(_: Image.Image) -> Preview:
        msg = "encoder error -2 when writing image file"
        raise OSError(msg)

    picture = recognise(encoded(plain(), "PNG"), previewer=fails)

    assert picture.preview is None
    assert [preview.width for preview in await previews([picture])] == [30]


async def test_no_pictures_have_no_previews() -> None:
    assert await previews([]) == []


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
async def test_the_media_type_is_what_the_bytes_are(kind: str) -> None:
    preview = await preview_of(plain(300, 200), kind)

    again = recognise(preview.data)
    assert (preview.media_type, preview.width, preview.height) == (again.media_type, again.width, again.height)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((2048, 1024), (1024, 512)), ((1000, 3000), (341, 1024)), ((30, 20), (30, 20)), ((5000, 1), (1024, 1))],
)
async def test_the_longest_edge_is_as_asked_and_nothing_is_enlarged(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    preview = await preview_of(plain(*size), "JPEG")

    assert expected == (preview.width, preview.height)
    assert expected == shown(preview.data).size


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("edge", [1024, 32], ids=["as it is", "smaller"])
async def test_a_picture_is_put_upright(kind: str, orientation: int, edge: int) -> None:
    """However the camera was held; Pillow's own function is what we compare with."""
    stored = plain(64, 32, "white")
    stored.paste(RED, (0, 0, 16, 16))
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = ImageOps.exif_transpose(shown(encoded(stored, "PNG", exif=exif)))

    preview = await preview_of(stored, kind, exif=exif, edge=edge)

    upright.thumbnail((edge, edge))
    image = shown(preview.data)
    width, height = upright.size
    assert (preview.width, preview.height) == image.size == (width, height)
    assert all(close(pixel(upright, x, y), pixel(image, x, y)) for x in (3, width - 3) for y in (3, height - 3))


async def test_an_odd_field_beside_the_orientation_does_no_harm() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x011A] = 72.5
    # The resolution says that it is an IFD: exif_transpose raises TypeError or struct.error for such things.
    odd = exif.tobytes().replace(b"\x01\x1a\x00\x05", b"\x01\x1a\x00\x0d")

    preview = await preview_of(plain(60, 40), "PNG", exif=odd)

    assert (preview.width, preview.height) == (40, 60)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("exif", [b"Exif\x00\x00II*\x00nonsense", b"Exif\x00\x00XX*\x00", b"Exif\x00\x00II"])
async def test_unreadable_metadata_does_no_harm(exif: bytes) -> None:
    preview = await preview_of(plain(), "PNG", exif=exif)

    assert (preview.width, preview.height) == (30, 20)


@pytest.mark.parametrize(("mode", "kind"), [("RGB", "JPEG"), ("RGB", "PNG"), ("RGBA", "PNG"), ("RGBA", "WEBP")])
async def test_metadata_is_left_out(mode: str, kind: str) -> None:
    image = plain().convert(mode)
    image.putpixel((0, 0), (0,) * len(mode))
    exif = Image.Exif()
    exif[0x010E] = "at home"

    preview = await preview_of(image, kind, exif=exif, icc_profile=b"made at home", comment=b"at home")

    assert {"exif", "icc_profile", "comment"}.isdisjoint(shown(preview.data).info)
    assert b"at home" not in preview.data


async def test_transparency_is_kept() -> None:
    image = Image.new("RGBA", (40, 40), (255, 0, 0, 255))
    image.paste((0, 0, 0, 0), (0, 0, 20, 40))

    preview = await preview_of(image)

    assert preview.media_type == "image/webp"
    assert pixel(shown(preview.data), 5, 20)[3] == 0
    assert close((*RED, 255), pixel(shown(preview.data), 35, 20))


async def test_alpha_without_transparency_is_dropped() -> None:
    preview = await preview_of(Image.new("RGBA", (40, 40), (*RED, 255)))

    assert preview.media_type == "image/jpeg"


async def test_a_transparent_palette_stays_transparent() -> None:
    image = Image.new("P", (40, 40), 1)
    image.putpalette([0, 0, 0, *RED])
    image.paste(0, (0, 0, 20, 40))

    preview = await preview_of(image, "PNG", transparency=0)

    assert pixel(shown(preview.data), 5, 20)[3] == 0


@pytest.mark.parametrize(
    ("mode", "kind", "colour", "expected"),
    [
        ("CMYK", "JPEG", (0, 255, 255, 0), RED),
        ("L", "JPEG", 128, (128, 128, 128)),
        ("1", "PNG", 1, WHITE),
        ("LA", "PNG", (128, 255), (128, 128, 128)),
        ("I;16", "PNG", 32_896, (128, 128, 128)),
        ("I;16", "PNG", 65_535, WHITE),
    ],
)
async def test_every_colour_mode_keeps_its_colours(
    mode: str, kind: str, colour: int | tuple[int, ...], expected: tuple[int, int, int]
) -> None:
    preview = await preview_of(Image.new(mode, (40, 40), colour), kind)

    assert close(expected, pixel(shown(preview.data), 20, 20))


async def test_an_animation_shows_its_first_picture() -> None:
    frames = [plain(40, 40, "red"), plain(40, 40, "blue")]

    preview = await preview_of(frames[0], "GIF", save_all=True, append_images=frames[1:])

    assert close(RED, pixel(shown(preview.data), 20, 20))


async def test_bytes_stay_out_of_the_repr() -> None:
    preview = await preview_of(plain())

    assert repr(preview) == "Preview(media_type='image/jpeg', width=30, height=20)"


async def test_what_cannot_be_shown_is_left_out_and_the_others_are_shown() -> None:
    none = Picture(data=b"\x89PNG", media_type="image/png", width=1, height=1)

    assert [made.width for made in await previews([none, recognise(encoded(plain(), "PNG"))])] == [30]


async def test_a_palette_picture_without_its_palette_is_kept_all_the_same() -> None:
    """Pillow can load it, and fails to convert it."""
    data = without_palette(encoded(Image.new("P", (8, 6)), "PNG"))
    picture = recognise(data, previewer=partial(images.preview_of, edge=64))

    assert (picture.width, picture.height, picture.preview) == (8, 6, None)
    assert await previews([picture]) == []


def without_palette(png: bytes) -> bytes:
    at = png.index(b"PLTE") - 4
    return png[:at] + png[at + 12 + int.from_bytes(png[at : at + 4], "big") :]
