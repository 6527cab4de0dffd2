"""JSON as hosts write it: strict, with comments and trailing commas, or JSON5. Edited in place, never rewritten."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from flux2_mcp.cli.config_editors import BEYOND_US, Setting
from flux2_mcp.errors import UnreadableConfig

SPACE = re.compile(r"(?:[\s\ufeff]|//[^\n\r]*|/\*.*?\*/)*", re.DOTALL)
STRING = re.compile(r'"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\'', re.DOTALL)
WORD = re.compile(r"[^\s,:\[\]{}\"'/]+")
ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|\r\n|.)", re.DOTALL)
ESCAPED = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "0": "\0", "\n": "", "\r\n": "", "\r": ""}
WORDS: Mapping[str, object] = {"true": True, "false": False, "null": None}


@dataclass(frozen=True)
class Value:
    """A value and where in the text it stands; `members` where it is an object."""

    start: int
    end: int
    data: object
    members: tuple[Member, ...] = ()

    def member(self, key: str) -> Member | None:
        """Where a key is given twice the last one counts, as it does for JavaScript."""
        return next((member for member in reversed(self.members) if member.key == key), None)


@dataclass(frozen=True)
class Member:
    """A key and its value; `start` is where the key begins."""

    key: str
    start: int
    value: Value


@dataclass(frozen=True)
class Json:
    """JSON in one of its dialects."""

    strict: bool = True
    """Whether the host refuses comments and trailing commas, so that we must too."""

    def read(self, text: str) -> Mapping[str, object]:
        """Everything the text says; an empty text says nothing."""
        return {member.key: member.value.data for member in self._parsed(text).members}

    def put(self, text: str, path: Sequence[str], value: Setting) -> str:
        """The text with this value at this path."""
        if not text[SPACE.match(text, 0).end() :]:  # pyright: ignore[reportOptionalMemberAccess] the pattern always matches
            # The last line may be a comment, which goes on to its end.
            between = "" if text.endswith(("\n", "\r")) or not text.strip("\ufeff \t") else _newline(text)
            text = f"{text}{between}{{}}\n"
        parent, rest = self._deepest(text, path)
        for key in reversed(rest[1:]):
            value = {key: value}
        present = parent.member(rest[0])
        if present is None:
            return _with_member(text, parent, rest[0], value)
        if present.value.data == value:
            return text
        written = _written(value, _indent_of(text, present.start), text)
        return text[: present.value.start] + written + text[present.value.end :]

    def drop(self, text: str, path: Sequence[str]) -> str:
        """The text without the member at this path, and without the comma and the line that it leaves."""
        parent, rest = self._deepest(text, path)
        if len(rest) != 1 or not (present := parent.member(rest[0])):
            return text
        return _without_member(text, parent, present)

    def _deepest(self, text: str, path: Sequence[str]) -> tuple[Value, Sequence[str]]:
        """The object nearest to the path's end, and the keys that remain from there; the last key always does."""
        value, rest = self._parsed(text), list(path)
        while len(rest) > 1 and (member := value.member(rest[0])):
            if not isinstance(member.value.data, dict):
                msg = f'"{rest[0]}" is not an object in it.'
                raise UnreadableConfig(msg)
            value, rest = member.value, rest[1:]
        return value, rest

    def _parsed(self, text: str) -> Value:
        if self.strict and text.strip("\ufeff \t\r\n"):
            try:
                json.loads(text.removeprefix("\ufeff"))
            except json.JSONDecodeError as error:
                msg = f"Line {error.lineno} is not valid JSON: {error.msg}."
                raise UnreadableConfig(msg) from None
            except (ValueError, RecursionError):
                raise UnreadableConfig(BEYOND_US) from None
        try:
            return _Reader(text).document()
        except RecursionError:
            raise UnreadableConfig(BEYOND_US) from None


class _Reader:
    """Reads JSON5, and so every dialect of JSON, and remembers where everything stands."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def document(self) -> Value:
        if not self._peek():
            return Value(len(self.text), len(self.text), {})
        value = self._value()
        if self._peek():
            self._stop("nothing more was expected")
        if not isinstance(value.data, dict):
            self._stop("an object was expected")
        return value

    def _value(self) -> Value:
        mark = self._peek()
        if mark == "{":
            return self._object()
        if mark == "[":
            return self._array()
        start = self.at
        data = self._string() if mark in {'"', "'"} else self._word()
        return Value(start, self.at, data)

    def _object(self) -> Value:
        start, members = self.at, list[Member]()
        self.at += 1
        while self._peek() != "}":
            members.append(self._member())
            self._comma("}")
        self.at += 1
        return Value(start, self.at, {member.key: member.value.data for member in members}, tuple(members))

    def _member(self) -> Member:
        start = self.at
        key = self._string() if self._peek() in {'"', "'"} else self._matched(WORD, "a key was expected")
        if self._peek() != ":":
            self._stop("a colon was expected")
        self.at += 1
        return Member(key, start, self._value())

    def _array(self) -> Value:
        start, items = self.at, list[object]()
        self.at += 1
        while self._peek() != "]":
            items.append(self._value().data)
            self._comma("]")
        self.at += 1
        return Value(start, self.at, items)

    def _comma(self, end: str) -> None:
        mark = self._peek()
        if mark == ",":
            self.at += 1
        elif mark != end:
            self._stop(f"a comma or {end} was expected")

    def _string(self) -> str:
        given = self._matched(STRING, "a string does not end")[1:-1]
        text = ESCAPE.sub(lambda match: _unescaped(match[1]), given)
        # An emoji is written as two escapes, one for each half.
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")

    def _word(self) -> object:
        start = self.at
        word = self._matched(WORD, "a value was expected")
        if word in WORDS:
            return WORDS[word]
        try:
            if re.fullmatch(r"-?\d+", word):
                return int(word)
            return int(word, 16) if re.match(r"[+-]?0[xX]", word) else float(word)
        except ValueError:
            self.at = start
            self._stop("a value was expected")

    def _matched(self, pattern: re.Pattern[str], problem: str) -> str:
        match = pattern.match(self.text, self.at)
        if not match:
            self._stop(problem)
        self.at = match.end()
        return match[0]

    def _peek(self) -> str:
        """The next character that counts, or nothing at the end."""
        self.at = SPACE.match(self.text, self.at).end()  # pyright: ignore[reportOptionalMemberAccess] always matches
        return self.text[self.at : self.at + 1]

    def _stop(self, problem: str) -> NoReturn:
        msg = f"In line {self.text.count(chr(10), 0, self.at) + 1} {problem}."
        raise UnreadableConfig(msg) from None


def _unescaped(escape: str) -> str:
    if escape[0] in "ux" and len(escape) > 1:
        return chr(int(escape[1:], 16))
    return ESCAPED.get(escape, escape)


def _with_member(text: str, parent: Value, key: str, value: Setting) -> str:
    inside = text[parent.start : parent.end]
    last = parent.members[-1].value.end if parent.members else parent.start + 1
    tail = text[last : parent.end - 1]
    comma = _comma_in(tail)
    between = "" if comma is not None or not parent.members else ","
    after = "," if comma is not None else ""
    name = f"{json.dumps(key, ensure_ascii=False)}: "
    if parent.members and "\n" not in inside:
        compact = json.dumps(value, ensure_ascii=False)
        return f"{text[:last]}{between or ','} {name}{compact}{text[parent.end - 1 :]}"
    indent = _member_indent(text, parent)
    newline = _newline(text)
    line = f"{newline}{indent}{name}{_written(value, indent, text)}{after}"
    kept = tail.rstrip()
    end = newline + _indent_of(text, parent.start)
    return text[:last] + between + kept + line + end + text[parent.end - 1 :]


def _without_member(text: str, parent: Value, member: Member) -> str:
    end = member.value.end
    index = parent.members.index(member)
    is_last = index == len(parent.members) - 1
    following = text[end : parent.end - 1 if is_last else parent.members[index + 1].start]
    comma = _comma_in(following)
    if comma is not None:
        end += comma + 1
    start = member.start
    before = text[:start].rstrip(" \t")
    if before.endswith("\n") and re.match(r"[ \t]*(\r?\n|$)", text[end:]):
        # It had its lines to itself: they go, and so does the line break before them.
        before = before.removesuffix("\n").removesuffix("\r")
    after = text[end:]
    if is_last and comma is None and index > 0:
        previous = parent.members[index - 1].value.end
        gap = before[previous:]
        at = _comma_in(gap)
        if at is not None:
            before = before[: previous + at] + gap[at + 1 :]
    if not is_last and "\n" not in text[end : parent.members[index + 1].start]:
        before, after = text[:start], after.lstrip(" \t")
    return before + after


def _comma_in(text: str) -> int | None:
    """Where the comma is, if one stands there outside all comments."""
    at = SPACE.match(text, 0).end()  # pyright: ignore[reportOptionalMemberAccess] the pattern always matches
    return at if text[at : at + 1] == "," else None


def _written(value: Setting, indent: str, text: str) -> str:
    unit = re.search(r"^([ \t]+)\S", text, re.MULTILINE)
    lines = json.dumps(value, ensure_ascii=False, indent=unit[1] if unit else "  ").splitlines()
    return (_newline(text) + indent).join(lines)


def _member_indent(text: str, parent: Value) -> str:
    for member in parent.members:
        line = text[text.rfind("\n", 0, member.start) + 1 : member.start]
        if not line.strip():
            return line
    unit = re.search(r"^([ \t]+)\S", text, re.MULTILINE)
    return _indent_of(text, parent.start) + (unit[1] if unit else "  ")


def _indent_of(text: str, at: int) -> str:
    line = text[text.rfind("\n", 0, at) + 1 : at]
    return line[: len(line) - len(line.lstrip())]


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"
