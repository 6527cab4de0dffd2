"""What each model accepts; what it does not becomes a 422 answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from urllib.parse import urlsplit

from .models import Action, Model, Models, slugs
from .parsing import JsonObject, as_list
from .refusals import invalid

SHORTEST_PROMPT, LONGEST_PROMPT = 3, 5000

Errors = dict[str, list[str]]
Problem = str | None


def check(models: Models, action: Action, params: JsonObject) -> None:
    """Compare the parameters of a new task with the contract. Fields it does not know are let through.

    Raises:
        Refusal: 422, with every field that is wrong.
    """
    errors = _errors(models, action, params)
    if errors:
        raise invalid(errors)


def _errors(models: Models, action: Action, params: JsonObject) -> Errors:
    slug = params.get("model")
    known = slugs(models, action)
    if not _present(slug):
        return {"model": ["is required"]}
    if not isinstance(slug, str) or slug not in known:
        return {"model": [_one_of(known)]}
    errors: Errors = {}
    for field, problem in [*_forbidden(slug, models[slug], params), *_field_problems(models[slug], params)]:
        if problem:
            errors.setdefault(field, []).append(problem)
    return errors


def _forbidden(slug: str, model: Model, params: JsonObject) -> Iterator[tuple[str, Problem]]:
    for field in OPTIONAL:
        if field not in model.takes and _present(params.get(field)):
            yield field, f"is not allowed when model is {slug}"


def _field_problems(model: Model, params: JsonObject) -> Iterator[tuple[str, Problem]]:
    yield "prompt", _checked(params.get("prompt"), _prompt_problem, required=True)
    ratio = params.get("aspect_ratio")
    yield "aspect_ratio", _checked(ratio, _choice(model.aspect_ratio), required=model.ratio_required)
    yield "output_resolution", _checked(params.get("output_resolution"), _choice(model.output_resolution))
    yield "callback_url", _checked(params.get("callback_url"), _callback_problem)
    if model.action == "remix_image":
        sources = _sources_problem(model.most_sources)
        yield "source_image_urls", _checked(params.get("source_image_urls"), sources, required=True)
    for field in model.takes:
        yield field, _checked(params.get(field), OPTIONAL[field])


def _checked(value: object, problem: Callable[[object], Problem], *, required: bool = False) -> Problem:
    if _present(value):
        return problem(value)
    return "is required" if required else None


def _present(value: object) -> bool:
    """False counts as present; null, blank text and arrays of nothing but blanks do not."""
    items = as_list(value)
    if items is not None:
        return any(_present(item) for item in items)
    return value is not None and not (isinstance(value, str) and not value.strip())


def _one_of(choices: tuple[str, ...]) -> str:
    return f"must be one of: {', '.join(choices)}"


def _choice(choices: tuple[str, ...]) -> Callable[[object], Problem]:
    return lambda value: None if value in choices else _one_of(choices)


def _prompt_problem(value: object) -> Problem:
    if not isinstance(value, str):
        return "must be a string"
    if SHORTEST_PROMPT <= len(value) <= LONGEST_PROMPT:
        return None
    return f"must be between {SHORTEST_PROMPT} and {LONGEST_PROMPT} characters"


def _switch_problem(value: object) -> Problem:
    return None if isinstance(value, bool) else "must be a boolean"


def _count_problem(value: object) -> Problem:
    # In Python True is an int and equal to 1; on the wire it is not.
    if not isinstance(value, int) or isinstance(value, bool):
        return "must be an integer"
    return None if value == 1 else "must be one of: 1"


OPTIONAL: Mapping[str, Callable[[object], Problem]] = {
    "enable_safety_checker": _switch_problem,
    "output_count": _count_problem,
}
"""The fields that not every model takes."""


def _callback_problem(value: object) -> Problem:
    if not isinstance(value, str):
        return "must be a string"
    return None if _is_web_address(value) else "must be an HTTP(S) URL"


def _sources_problem(most: int) -> Callable[[object], Problem]:
    def problem(value: object) -> Problem:
        urls = as_list(value)
        if urls is None:
            return "must be an array"
        if not 1 <= len(urls) <= most:
            return f"must contain between 1 and {most} items"
        good = all(isinstance(url, str) and _is_web_address(url) for url in urls)
        return None if good else "must contain only HTTP(S) URLs"

    return problem


def _is_web_address(value: str) -> bool:
    try:
        parts = urlsplit(value)
        return parts.scheme.lower() in {"http", "https"} and bool(parts.hostname) and " " not in value.strip()
    except ValueError:
        return False
