"""File names that a person recognises and every operating system accepts."""

from __future__ import annotations

import re
import unicodedata
from datetime import datetime
from typing import Final

LONGEST_TEXT: Final = 60
"""Characters of the prompt in a file name."""
LONGEST_NAME: Final = 190
"""Bytes of the name in UTF-8, without the extension; most file systems end at 255 for all of it."""
FALLBACK: Final = "picture"

_FORBIDDEN_ON_WINDOWS: Final = frozenset('<>:"/\\|?*')
_RESERVED_ON_WINDOWS: Final = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9¹²³])", re.IGNORECASE)
# Persian and the scripts of India need these two inside words; every other invisible character goes, first of all
# those that reverse the direction of what follows and so hide an extension.
_JOINERS: Final = frozenset("\u200c\u200d")


def file_name(prompt: str, *, when: datetime, tag: str) -> str:
    """A name without extension, such as "2026-11-22 a ceramic vase with dried flowers 9f2c".

    `tag` tells pictures of one prompt apart; only its ASCII letters and digits are used.
    """
    date = f"{when:%Y-%m-%d}"
    ending = "".join(letter for letter in tag if letter.isascii() and letter.isalnum())[:16]
    room = LONGEST_NAME - len(f"{date}  {ending}")
    return " ".join(part for part in (date, _readable(prompt, room=room), ending) if part)


def is_safe_on_windows(part: str) -> bool:
    """Whether Windows means a plain file or folder by this part of a path: no device, no stream, nothing cut off."""
    device = _RESERVED_ON_WINDOWS.fullmatch(part.partition(".")[0].strip())
    return not (device or part.endswith((".", " ")) or _FORBIDDEN_ON_WINDOWS & set(part) or has_control(part))


def is_plain(name: str) -> bool:
    """Whether a file can have this name without extension: no folder in it, and more than dots and blanks."""
    return bool(name.strip(". ")) and "/" not in name and "\\" not in name


def has_control(text: str) -> bool:
    return any(unicodedata.category(letter) == "Cc" for letter in text)


def _readable(prompt: str, *, room: int) -> str:
    """The first words, in at most 60 characters and `room` bytes; not empty."""
    letters = "".join(letter if _is_kept(letter) else " " for letter in unicodedata.normalize("NFC", prompt[:2000]))
    words = [word for word in letters.split() if any(map(str.isalnum, word))]
    text = _trimmed(_cut(" ".join(words), room=room)) or FALLBACK
    # The date in front already keeps Windows from seeing a device, but the name may lose its date one day.
    return f"{text}_" if _RESERVED_ON_WINDOWS.fullmatch(text.partition(".")[0].strip()) else text


def _is_kept(letter: str) -> bool:
    """Letters, their marks, digits, punctuation, money and mathematics; not emoji, not what cannot be seen."""
    if letter in _JOINERS:
        return True
    return unicodedata.category(letter) in _KEPT and letter not in _FORBIDDEN_ON_WINDOWS


_KEPT: Final = frozenset(
    ["Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Nd", "Nl", "No", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sm", "Sc"]
)


def _cut(text: str, *, room: int) -> str:
    end = min(len(text), LONGEST_TEXT)
    while len(text[:end].encode()) > room:
        end -= 1
    if end == len(text):
        return text
    # Between two words, if that leaves enough; never between a letter and its accents.
    space = text.rfind(" ", 0, end + 1)
    if space > end // 2:
        return text[:space]
    while end and (unicodedata.category(text[end]).startswith("M") or text[end] in _JOINERS):
        end -= 1
    return text[:end]


def _trimmed(text: str) -> str:
    """Without what hides a file, looks like an option, or is cut off by Windows."""
    return text.strip(" .-~\u200c\u200d").rstrip(",;:")
