"""Colours for a picture: from the words of its prompt, or from chance that the prompt decides."""

from __future__ import annotations

import colorsys
import random
import re
from dataclasses import dataclass
from functools import cached_property

Colour = tuple[int, int, int]

NAMED: dict[str, str] = {
    "red": "#c8402f", "crimson": "#a81f33", "scarlet": "#d8391f", "orange": "#e58433", "amber": "#e8a33d",
    "gold": "#d9a441", "golden": "#d9a441", "yellow": "#ecc94b", "lime": "#9acb3c", "green": "#4f9d63",
    "olive": "#87893a", "emerald": "#1f9b6d", "teal": "#258f8c", "turquoise": "#3dbbb0", "cyan": "#37b3cf",
    "blue": "#3f78c4", "navy": "#29406f", "indigo": "#4b4a9c", "purple": "#7d54a8", "violet": "#8b66c9",
    "lavender": "#a99bd6", "magenta": "#b9408f", "pink": "#e08aa6", "rose": "#d66e86", "coral": "#ea7a63",
    "brown": "#8a5a3c", "terracotta": "#bf6446", "cedar": "#99583a", "beige": "#d2b48c", "cream": "#e3d3ae",
    "linen": "#d8c8b0", "ceramic": "#b9a99a", "grey": "#8b9099", "gray": "#8b9099", "silver": "#a9b1ba",
    "black": "#33363f", "night": "#2b3566", "white": "#cfd6dc", "snow": "#bfd0de", "dawn": "#e59a86",
    "sunset": "#e4784a", "dusk": "#8a6aa3", "ocean": "#2f86a8", "sea": "#3590a4", "forest": "#4a7f5a",
}  # fmt: skip

# Main and accent colours that go well together, for prompts that name none.
PAIRS = (
    ("#3d6f8f", "#f0a868"),
    ("#b4654a", "#f2d0a4"),
    ("#4d7c6b", "#f3c969"),
    ("#6a5b9a", "#f2a6a0"),
    ("#2f5d7c", "#f4d9b0"),
    ("#c07a5a", "#5d8f94"),
    ("#547a9e", "#f6b7a0"),
    ("#7c8f5a", "#e9a15b"),
    ("#8d5a78", "#f4c38b"),
    ("#2e7f86", "#f7b267"),
)


@dataclass(frozen=True)
class Palette:
    """A main colour, an accent, and shades made of them."""

    main: Colour
    accent: Colour

    @cached_property
    def paper(self) -> Colour:
        """The lightest tone: a warm white with a little of the accent."""
        return mixed(self.accent, (252, 247, 238), 0.72)

    @cached_property
    def haze(self) -> Colour:
        """The main colour seen through a lot of air."""
        return mixed(self.main, mixed(self.paper, self.accent, 0.25), 0.62)

    @cached_property
    def ink(self) -> Colour:
        """The darkest tone."""
        return shade(self.main, 0.17)

    def depth(self, share: float) -> Colour:
        """From haze (0) through the main colour to ink (1)."""
        if share < 0.6:
            return mixed(self.haze, self.main, share / 0.6)
        return mixed(self.main, self.ink, (share - 0.6) / 0.4)


def palette_for(prompt: str, chance: random.Random) -> Palette:
    """The colours a prompt names first and second; the rest is chance."""
    named = [_from_hex(NAMED.get(word.lower(), word)) for word in _colour_words(prompt)]
    main, accent = (_from_hex(colour) for colour in chance.choice(PAIRS))
    if len(named) >= 2:
        return Palette(named[0], named[1])
    if named:
        return Palette(named[0], turned(named[0], chance.choice((0.42, 0.5, 0.58)), 0.68))
    return Palette(turned(main, chance.uniform(-0.04, 0.04)), turned(accent, chance.uniform(-0.03, 0.03)))


def mixed(first: Colour, second: Colour, share: float) -> Colour:
    """`share` of the second colour in the first."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def turned(colour: Colour, turn: float, lightness: float | None = None) -> Colour:
    """A colour with its hue turned (1 is all the way round)."""
    hue, light, saturation = colorsys.rgb_to_hls(*(part / 255 for part in colour))
    light = light if lightness is None else lightness
    red, green, blue = colorsys.hls_to_rgb((hue + turn) % 1, light, min(1.0, saturation))
    return round(red * 255), round(green * 255), round(blue * 255)


def shade(colour: Colour, lightness: float) -> Colour:
    """A colour made as light or dark as said."""
    return turned(colour, 0.0, lightness)


def _colour_words(prompt: str) -> list[str]:
    names = "|".join(NAMED)
    found = re.findall(rf"#[0-9a-fA-F]{{6}}\b|#[0-9a-fA-F]{{3}}\b|\b(?:{names})\b", prompt, re.IGNORECASE)
    return list(dict.fromkeys(found))


def _from_hex(text: str) -> Colour:
    digits = text.removeprefix("#")
    if len(digits) == 3:
        digits = "".join(digit * 2 for digit in digits)
    return int(digits[0:2], 16), int(digits[2:4], 16), int(digits[4:6], 16)
