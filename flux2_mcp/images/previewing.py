"""Small versions of pictures to look at, re-encoded by us and together within a budget."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Final, TypeVar

import anyio

from flux2_mcp.errors import PictureUnavailable
from flux2_mcp.images.formats import DAMAGED, Picture, PictureInfo, Preview, in_worker, opened

if TYPE_CHECKING:
    from PIL import Image

A = TypeVar("A")
B = TypeVar("B")

BUDGET: Final = 700 * 1024
_BEST: Final = 90
_ORIENTATION: Final = 0x0112
_STEPS: Final = [
    (share, quality)
    for share in (1, 0.85, 0.7, 0.6, 0.5, 0.42, 0.35, 0.25, 0.18, 0.125, 0.09, 0.0625, 0.03125)
    for quality in (80, 75, 70, 65, 60, 55, 50)
]
"""Share of the edge, and quality. Quality goes first: details are lost less in a rough picture than in a small one."""


async def previews(
    pictures: Sequence[Picture | PictureInfo], *, edge: int = 1024, budget: int = BUDGET
) -> list[Preview]:
    """One preview per picture that can be shown, upright, without metadata, at most `edge` pixels long and wide.

    The base64 texts of all together have at most `budget` characters: what small ones leave, large ones use. A
    preview cannot be much smaller than a kilobyte, so neither can a budget per picture.
    """
    best = [made for made in await _side_by_side(partial(_best, edge=edge), pictures) if made]
    allowances = _shared_out([preview.base64_length for preview in best], budget)
    return await _side_by_side(_within, list(zip(best, allowances, strict=True)))


def preview_of(image: Image.Image, *, edge: int) -> Preview:
    """The best preview of a decoded picture, which may have its pixels changed; see `previews`."""
    return _encoded(canvas(image, edge=edge), quality=_BEST)


def _best(picture: Picture | PictureInfo, *, edge: int) -> Preview | None:
    """The preview of which smaller ones are made; None for a picture of which none can be made."""
    made, longest = picture.preview, max(picture.width, picture.height)
    if made and max(made.width, made.height) == min(edge, longest):
        return made
    if isinstance(picture, PictureInfo):
        return None
    size = _fitted((picture.width, picture.height), edge)
    try:
        with opened(picture.data, picture.media_type, max_pixels=picture.width * picture.height, draft=size) as image:
            return preview_of(image, edge=edge)
    except (PictureUnavailable, *DAMAGED):
        # Sound enough to be kept, but not to be converted, such as one of a palette's colours without a palette.
        return None


def canvas(image: Image.Image, *, edge: int) -> Image.Image:
    """A decoded picture upright, in RGB or RGBA, without metadata, at most `edge` pixels long and wide."""
    from PIL import Image

    if image.mode == "RGB" and not image.has_transparency_data and max(image.size) > edge:
        # Before anything copies it: pixels are the larger part of what a picture takes.
        colours = image.resize(_fitted(image.size, edge), Image.Resampling.LANCZOS, reducing_gap=3.0)  # pyright: ignore[reportUnknownMemberType] as Pillow declares it
    else:
        colours = _in_colours(image)
        colours.thumbnail((edge, edge), Image.Resampling.LANCZOS, reducing_gap=3.0)
    upright = _upright(colours, said_by=image)
    # Whatever stays in here, some encoder writes: comments, colour profiles, EXIF.
    upright.info.clear()
    return upright


def _in_colours(image: Image.Image) -> Image.Image:
    from PIL import Image

    if image.mode.startswith("I"):
        # 16 bits of grey; Pillow would cut them off at 255.
        return Image.eval(image.convert("I"), lambda value: value * (1 / 257)).convert("L").convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    colours = image.convert("RGBA")
    return colours.convert("RGB") if colours.getchannel("A").getextrema() == (255, 255) else colours


def _upright(image: Image.Image, *, said_by: Image.Image) -> Image.Image:
    """Turned as the EXIF of what it was made from says.

    ImageOps.exif_transpose also writes the EXIF again, and stumbles over odd fields there.
    """
    from PIL import Image

    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    try:
        turn = turns.get(said_by.getexif().get(_ORIENTATION, 1))
    except DAMAGED:
        # A sound picture with nonsense for metadata is shown as it is stored.
        return image
    return image if turn is None else image.transpose(turn)


def _within(job: tuple[Preview, int]) -> Preview:
    """The best preview that does not pass its allowance, in characters of base64."""
    best, allowance = job
    if best.base64_length <= allowance:
        return best
    decoded = opened(best.data, best.media_type)
    attempts: dict[tuple[float, int], Preview] = {}

    def fits(step: tuple[float, int]) -> bool:
        attempts[step] = _encoded(_shrunk(decoded, step[0]), quality=step[1])
        return attempts[step].base64_length <= allowance

    # By halves, because each attempt takes a while; one that fits was always tried.
    index = bisect_left(_STEPS, True, key=fits)  # noqa: FBT003 - what is searched for
    return attempts[_STEPS[min(index, len(_STEPS) - 1)]]


def _shrunk(preview: Image.Image, share: float) -> Image.Image:
    from PIL import Image

    image = preview.copy()
    edge = max(1, int(max(preview.size) * share))
    image.thumbnail((edge, edge), Image.Resampling.LANCZOS, reducing_gap=3.0)
    return image


def _encoded(image: Image.Image, *, quality: int) -> Preview:
    """As JPEG, which every host and model takes, and ten times faster than WebP; as WebP where there is alpha."""
    file = BytesIO()
    if image.mode == "RGBA":
        image.save(file, "WEBP", quality=quality, alpha_quality=quality, method=0)
        return Preview(file.getvalue(), "image/webp", *image.size)
    # Full colour resolution where there is room for it: small red letters need it. Not optimised, because Pillow's
    # buffer for that is too small for noise: "broken data stream".
    image.save(file, "JPEG", quality=quality, subsampling="4:4:4" if quality == _BEST else "4:2:0")
    return Preview(file.getvalue(), "image/jpeg", *image.size)


def _shared_out(wanted: Sequence[int], budget: int) -> list[int]:
    """What each may use: who needs less than an equal share leaves the rest to the others.

    `_shared_out([10, 100, 100], 130)` is `[10, 60, 60]`.
    """
    allowances = [0] * len(wanted)
    smallest_first = sorted(range(len(wanted)), key=wanted.__getitem__)
    for done, index in enumerate(smallest_first):
        allowances[index] = min(wanted[index], budget // (len(wanted) - done))
        budget -= allowances[index]
    return allowances


def _fitted(size: tuple[int, int], edge: int) -> tuple[int, int]:
    longest = max(size)
    if longest <= edge:
        return size
    width, height = (max(1, round(side * edge / longest)) for side in size)
    return width, height


async def _side_by_side(work: Callable[[A], B], items: Sequence[A]) -> list[B]:
    results: dict[int, B] = {}

    async def one(index: int, item: A) -> None:
        results[index] = await in_worker(partial(work, item))

    async with anyio.create_task_group() as group:
        for index, item in enumerate(items):
            group.start_soon(one, index, item)
    return [results[index] for index in range(len(items))]
