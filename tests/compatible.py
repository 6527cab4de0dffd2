"""What a version breaks: `old` is what 1.0 had, `new` what there is now."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from math import inf
from typing import Any

Json = dict[str, Any]
Breaks = Callable[[Any, Any], Iterator[str]]

GUARDS = (
    "FLUX2_ALLOW_UNKNOWN_PRICE",
    "FLUX2_CONFIRM_OVER",
    "FLUX2_DAILY_BUDGET",
    "FLUX2_MAX_COST_PER_CALL",
)
"""The settings that guard money: the more, the wider, and none at all is widest."""
LEAST = ("minimum", "exclusiveMinimum", "minLength", "minItems")
MOST = ("maximum", "exclusiveMaximum", "maxLength", "maxItems")


def refused(old: Json, new: Json, at: str = "it") -> Iterator[str]:
    """Values that the schema `old` takes and `new` does not."""
    if "anyOf" in old or "anyOf" in new:
        choices: list[Json] = new.get("anyOf", [new])
        for each in old.get("anyOf", [old]):
            if all(any(refused(each, choice)) for choice in choices):
                yield f"{at} takes no {each} any more"
        return
    if "type" in new and new["type"] not in {old.get("type"), "number" if old.get("type") == "integer" else None}:
        yield f"{at} is {new['type']}, and was {old.get('type', 'anything')}"
    if "enum" in new and (left_out := [each for each in old.get("enum", ["anything"]) if each not in new["enum"]]):
        yield f"{at} takes no {left_out} any more"
    yield from (f"{at} has a higher {key}" for key in LEAST if new.get(key, -inf) > old.get(key, -inf))
    yield from (f"{at} has a lower {key}" for key in MOST if new.get(key, inf) < old.get(key, inf))
    yield from (f"{at} has a {key}" for key in ("pattern", "multipleOf") if new.get(key) not in {None, old.get(key)})
    yield from (f"{at} demands {name}" for name in new.get("required", []) if name not in old.get("required", []))
    if "items" in new:
        yield from refused(old.get("items", {}), new["items"], f"{at}[]")
    for name, was in old.get("properties", {}).items():
        yield from refused(was, new["properties"][name], name) if name in new["properties"] else [f"{name} is gone"]


def other_defaults(old: Json, new: Json) -> Iterator[str]:
    """Arguments that mean something else when they are left out."""
    for name, was in old["properties"].items():
        before, now = _default(was), _default(new["properties"].get(name, was))
        if before != now:
            yield f"{name} is {now} by default, and was {before}"


def _default(schema: Json) -> object:
    """None too for what says "nothing": schemas leave that out."""
    given = (each.get("default") for each in (schema, *schema.get("anyOf", ())))
    return next((each for each in given if each not in (None, "", [])), None)


def lost(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[str]:
    """Fields that are gone, may be absent now, or are of another type."""
    for name, kind in old.items():
        if new.get(name) not in {kind, kind.removesuffix("?")}:
            yield f"{name} is {new.get(name, 'gone')}, and was {kind}"


def demanded(old: Mapping[str, bool], new: Mapping[str, bool]) -> Iterator[str]:
    """Names that are gone, or have to be given now."""
    yield from (f"{name} is gone" for name in old if name not in new)
    yield from (f"{name} is demanded" for name, is_demanded in new.items() if is_demanded and not old.get(name))


def misread(old: Json, new: Json) -> Iterator[str]:
    """Command lines that are understood otherwise, and exit codes that are gone."""
    before, now = old["options"], new["options"]
    yield from (f"{name} is {now.get(name, 'gone')}" for name in before if not _as_many(before[name], now.get(name)))
    yield from (f"{name} is required" for name in now if name not in before and now[name].endswith("required"))
    words, more = old.get("positionals", []), new.get("positionals", [])
    common = len(words) <= len(more) and all(map(_as_many, words, more))
    if not common or any(each not in {"?", "*"} for each in more[len(words) :]):
        yield f"its positional arguments are {more}, and were {words}"
    for name, taken in old.get("choices", {}).items():
        yield from (f"{name} takes no {each}" for each in taken if each not in new.get("choices", {}).get(name, taken))
    yield from (f"{name} has choices" for name in new.get("choices", {}) if name not in old.get("choices", {}))
    codes = new.get("exit codes", [])
    yield from (f"exit code {code} is gone" for code in old.get("exit codes", []) if code not in codes)


def _as_many(old: str, new: str | None) -> bool:
    """By argparse's nargs."""
    return old == new or (old, new) in {("1", "?"), ("+", "*")}


def _of_tool(old: Json, new: Json) -> Iterator[str]:
    yield from refused(old["arguments"], new["arguments"])
    yield from other_defaults(old["arguments"], new["arguments"])
    yield from lost(old.get("result", {}), new.get("result", {}))


def changed_setting(old: Json, new: Json) -> Iterator[str]:
    """Values that a setting takes no more, and guards of money that let more through."""
    yield from refused(old, new)
    if "default" in old and _is_wider(old["default"], new["default"]):
        yield f"is {new['default']} by default, and was {old['default']}"


def _is_wider(old: float | None, new: float | None) -> bool:
    """Whether a guard of money lets more through."""
    return (inf if new is None else new) > (inf if old is None else old)


def gone(old: Iterable[str], new: Iterable[str]) -> Iterator[str]:
    """Names that are no more."""
    yield from (f"{name} is gone" for name in old if name not in new)


def of_each(breaks: Breaks) -> Breaks:
    """Names that are gone, and what is broken of the others."""

    def found(old: Json, new: Json) -> Iterator[str]:
        for name, was in old.items():
            words = breaks(was, new[name]) if name in new else ["is gone"]
            yield from (f"{name}: {each}" for each in words)

    return found


BREAKS: Mapping[str, Breaks] = {
    "tools": of_each(_of_tool),
    "structured content": of_each(lost),
    "models": of_each(of_each(refused)),
    "resources": gone,
    "prompts": of_each(demanded),
    "settings": of_each(changed_setting),
    "commands": of_each(misread),
    "--json": of_each(lost),
    "over HTTP": gone,
    "routes of the simulator": gone,
    "simulator": of_each(demanded),
    "names of the simulator": gone,
}
"""What a version breaks of each section of stability.json."""
