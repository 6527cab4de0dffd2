"""Section 5 of the fact sheet as a table: what each of the six models accepts, and what it is told otherwise."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from flux2_mcp.catalogue import Catalogue, Model, Request, catalogue
from flux2_mcp.errors import RequestRefused
from flux2_mcp.presenters.models import ModelHelp
from flux2_mcp.runapi.models import Action

RATIOS = ("1:1", "4:3", "3:4", "16:9", "9:16", "3:2", "2:3")
TIERS = ("pro", "flex", "max")
ACTIONS: tuple[Action, ...] = ("text_to_image", "remix_image")
SUFFIX = {"text_to_image": "text-to-image", "remix_image": "remix-image"}
TOOL = {"text_to_image": "generate", "remix_image": "remix"}
SOURCE = "https://img.example/a.png"


def wanted(tier: str, action: Action, **more: object) -> Request:
    """The least that this model accepts, and something more."""
    fields: dict[str, object] = {"prompt": "a red fox", "model": f"flux-2-{tier}", "action": action}
    if action == "remix_image":
        fields["source_image_urls"] = (SOURCE,)
        if tier == "max":
            fields["aspect_ratio"] = "1:1"
    return Request(**{**fields, **more})  # pyright: ignore[reportArgumentType]


def checked(tier: str, action: Action, **more: object) -> Request:
    return catalogue().check(wanted(tier, action, **more))


def refusal(tier: str, action: Action, **more: object) -> str:
    with pytest.raises(RequestRefused) as caught:
        checked(tier, action, **more)
    return str(caught.value)


every_model = pytest.mark.parametrize("tier", TIERS)
both_tools = pytest.mark.parametrize("action", ACTIONS)


@every_model
@both_tools
def test_the_least_is_enough_and_nothing_is_put_in(tier: str, action: Action) -> None:
    """RunAPI applies its own defaults; only Max has to be told a ratio."""
    body = checked(tier, action).body

    expected: dict[str, object] = {"model": f"flux-2-{tier}-{SUFFIX[action]}", "prompt": "a red fox"}
    if tier == "max":
        expected["aspect_ratio"] = "1:1"
    if action == "remix_image":
        expected["source_image_urls"] = [SOURCE]
    assert body == expected


@every_model
@both_tools
def test_seven_ratios_are_for_all(tier: str, action: Action) -> None:
    for ratio in RATIOS:
        assert checked(tier, action, aspect_ratio=ratio).aspect_ratio == ratio
        assert checked(tier, action, aspect_ratio=f" {ratio} ").aspect_ratio == ratio


@every_model
@both_tools
def test_another_ratio_is_answered_with_all_that_there_are(tier: str, action: Action) -> None:
    for ratio in ("21:9", "16x9", "1", "4:5", "square", "x" * 9000):
        said = refusal(tier, action, aspect_ratio=ratio)

        assert f"flux-2-{tier}" in said
        assert all(possible in said for possible in RATIOS)
        assert ("auto" in said) is (action == "remix_image" and tier != "max")
        assert len(said) < 300


def test_auto_is_for_remixes_of_pro_and_flex() -> None:
    assert checked("pro", "remix_image", aspect_ratio="auto").aspect_ratio == "auto"
    assert checked("flex", "remix_image", aspect_ratio="AUTO").aspect_ratio == "auto"
    for tier, action in (("pro", "text_to_image"), ("flex", "text_to_image"), ("max", "remix_image")):
        assert "It can make 1:1" in refusal(tier, action, aspect_ratio="auto")  # pyright: ignore[reportArgumentType]


def test_max_needs_a_ratio_to_remix_and_takes_a_square_to_generate() -> None:
    assert checked("max", "text_to_image").aspect_ratio == "1:1"
    assert "needs an aspect_ratio" in refusal("max", "remix_image", aspect_ratio=None)
    assert "needs an aspect_ratio" in refusal("max", "remix_image", aspect_ratio="  ")


@every_model
@both_tools
def test_max_makes_1k_only(tier: str, action: Action) -> None:
    for resolution in ("1k", "1K", " 1k "):
        assert checked(tier, action, output_resolution=resolution).output_resolution == "1k"
    for resolution in ("2k", "2K"):
        if tier == "max":
            assert "It can make 1k." in refusal(tier, action, output_resolution=resolution)
        else:
            assert checked(tier, action, output_resolution=resolution).output_resolution == "2k"


@every_model
@both_tools
def test_another_resolution_is_answered_with_those_that_there_are(tier: str, action: Action) -> None:
    for resolution in ("4k", "1024", "1k,2k", "z" * 9000):
        said = refusal(tier, action, output_resolution=resolution)

        assert ("It can make 1k." if tier == "max" else "It can make 1k or 2k.") in said
        assert len(said) < 300


@every_model
@both_tools
def test_a_blank_counts_as_not_given(tier: str, action: Action) -> None:
    """As in RunAPI's own validators."""
    request = checked(
        tier, action, output_resolution=" ", callback_url="", **({} if tier == "max" else {"aspect_ratio": ""})
    )

    assert not {"output_resolution", "callback_url"} & set(request.body)
    assert request.callback_url is None


@both_tools
@pytest.mark.parametrize("switch", [True, False])
def test_the_safety_switch_is_not_for_max(action: Action, switch: bool) -> None:  # noqa: FBT001
    for tier in ("pro", "flex"):
        assert checked(tier, action, enable_safety_checker=switch).body["enable_safety_checker"] is switch
    assert "neither on nor off. Leave it out, or use flux-2-pro. " in refusal(
        "max", action, enable_safety_checker=switch
    )


@pytest.mark.parametrize(
    ("tier", "count", "right"),
    [
        ("pro", 0, "1 to 8 source images"),
        ("pro", 9, "1 to 8 source images"),
        ("flex", 0, "1 to 8 source images"),
        ("flex", 9, "1 to 8 source images"),
        ("max", 0, "exactly 1 source image"),
        ("max", 2, "exactly 1 source image"),
        ("pro", 1, None),
        ("pro", 8, None),
        ("flex", 1, None),
        ("flex", 8, None),
        ("max", 1, None),
    ],
)
def test_the_number_of_sources_is_checked(tier: str, count: int, right: str | None) -> None:
    sources = tuple(f"https://img.example/{nth}.png" for nth in range(count))
    if right:
        assert f"flux-2-{tier} remixes {right}, not {count}." in refusal(tier, "remix_image", source_image_urls=sources)
    else:
        assert checked(tier, "remix_image", source_image_urls=sources).source_image_urls == sources


@every_model
def test_sources_are_not_for_words_alone(tier: str) -> None:
    assert "remix" in refusal(tier, "text_to_image", source_image_urls=(SOURCE,))


@every_model
@both_tools
def test_three_to_five_thousand_characters_make_a_prompt(tier: str, action: Action) -> None:
    """Characters, not bytes nor UTF-16 units: 5000 foxes are 20,000 bytes."""
    for prompt in ("abc", "a" * 5000, "🦊🦊🦊", "🦊" * 5000, " abc ", "日本語"):
        assert checked(tier, action, prompt=prompt).prompt == prompt


@every_model
@both_tools
def test_fewer_or_more_are_refused_with_the_limits(tier: str, action: Action) -> None:
    for prompt in ("", "ab", "🦊🦊", "  a  ", " " * 10):
        assert "3 to 5000 characters" in refusal(tier, action, prompt=prompt)
    for prompt in ("a" * 5001, "🦊" * 5001):
        assert "5001 characters; Flux 2 takes at most 5000" in refusal(tier, action, prompt=prompt)


@every_model
@both_tools
def test_full_slugs_are_model_names_too(tier: str, action: Action) -> None:
    slug = f"flux-2-{tier}-{SUFFIX[action]}"
    for name in (tier, f"flux-2-{tier}", slug, slug.upper(), f" {slug} "):
        assert checked(tier, action, model=name).model == slug


@every_model
@both_tools
def test_the_other_tools_slug_is_sent_to_that_tool(tier: str, action: Action) -> None:
    other: Action = "remix_image" if action == "text_to_image" else "text_to_image"
    said = refusal(tier, action, model=f"flux-2-{tier}-{SUFFIX[other]}")

    assert f"Call {TOOL[other]}, or use model flux-2-{tier} here." in said


@pytest.mark.parametrize(
    "model",
    [
        "flux",
        "flux-2",
        "pro-ultra",
        "flux-2-pro-ultra",
        "flux-2-promax-text-to-image",
        "flux-2-ultra",
        "flux-2-pro-image-to-image",
        "flux-1-pro",
        "m" * 9000,
    ],
)
def test_an_unknown_model_is_answered_with_those_that_there_are(model: str) -> None:
    for action in ACTIONS:
        said = refusal("pro", action, model=model)

        assert "There are flux-2-pro, flux-2-flex and flux-2-max." in said
        assert len(said) < 300


@pytest.mark.parametrize("url", ["https://app.example/hook", "http://app.example:8000/hook?x=1", None])
def test_a_callback_may_be_any_web_address(url: str | None) -> None:
    assert checked("pro", "text_to_image", callback_url=url).callback_url == url


@pytest.mark.parametrize(
    "url", ["app.example/hook", "ftp://app.example", "https://", "javascript:alert(1)", "http://[x"]
)
def test_a_callback_that_cannot_be_called_is_refused(url: str) -> None:
    assert "callback_url" in refusal("pro", "text_to_image", callback_url=url)


def test_nothing_was_sent_or_charged_by_any_of_this() -> None:
    assert "Nothing was charged." in refusal("pro", "text_to_image", prompt="")


def test_there_are_six_models() -> None:
    assert sorted(slug for model in catalogue().models for slug in model.slugs.values()) == sorted(
        f"flux-2-{tier}-{suffix}" for tier in TIERS for suffix in SUFFIX.values()
    )


@both_tools
@pytest.mark.parametrize(
    ("model", "meant"),
    [("flux-2-prp", "flux-2-pro"), ("flux2-max", "flux-2-max"), ("flexx", "flux-2-flex"), ("m" * 9000, None)],
)
def test_an_unknown_model_is_answered_with_the_nearest(action: Action, model: str, meant: str | None) -> None:
    said = refusal("pro", action, model=model)

    hint = f" Did you mean {meant}?" if meant else ""
    assert f".{hint} There are flux-2-pro, flux-2-flex and flux-2-max." in said


@pytest.mark.parametrize(("letters", "shown"), [(40, "m" * 40), (41, "m" * 39 + "…")], ids=["40", "41"])
def test_a_long_name_is_not_repeated_whole(letters: int, shown: str) -> None:
    assert f"model '{shown}'." in refusal("pro", "text_to_image", model="m" * letters)


@both_tools
@pytest.mark.parametrize("model", ["", "  "])
def test_a_model_that_is_not_said_is_the_default(action: Action, model: str) -> None:
    assert checked("pro", action, model=model).model == f"flux-2-pro-{SUFFIX[action]}"


def data() -> dict[str, Any]:
    return json.loads(files("flux2_mcp").joinpath("catalogue.json").read_text(encoding="utf-8"))


def with_models(*more: dict[str, object]) -> Catalogue:
    """Today's models, and these; each is flux-2-pro but for what is given."""
    known = data()
    pro: dict[str, object] = {**known["models"][0], "aliases": []}
    return Catalogue(json.dumps({**known, "models": [*known["models"], *({**pro, **each} for each in more)]}))


def test_a_longer_name_is_another_model() -> None:
    """Once "pro-ultra" was pro, as it begins like it."""
    slug = "flux-2-pro-ultra-text-to-image"
    known = with_models({"name": "flux-2-pro-ultra", "title": "Flux 2 Pro Ultra", "slugs": {"text_to_image": slug}})

    assert known.check(wanted("pro", "text_to_image", model="flux-2-pro-ultra")).model == slug
    assert known.check(wanted("pro", "text_to_image")).model == "flux-2-pro-text-to-image"
    assert known.title_of(slug) == "Flux 2 Pro Ultra"


def test_a_model_that_cannot_remix_says_which_can() -> None:
    known = with_models({"name": "flux-2-draft", "slugs": {"text_to_image": "flux-2-draft-text-to-image"}})

    with pytest.raises(
        RequestRefused, match=r"flux-2-draft cannot remix\. Use flux-2-pro, flux-2-flex or flux-2-max\."
    ):
        known.check(wanted("draft", "remix_image"))


def test_where_no_model_can_do_it_and_none_has_a_price_none_is_named() -> None:
    known = data()
    draft = {"name": "draft", "slugs": {"text_to_image": "draft-text-to-image"}, "enable_safety_checker": False}
    only: dict[str, object] = {**known["models"][0], **draft, "aliases": [], "price": None}
    catalogue = Catalogue(json.dumps({**known, "default": "draft", "models": [only]}))

    with pytest.raises(RequestRefused) as no_remix:
        catalogue.check(wanted("pro", "remix_image", model="draft"))
    with pytest.raises(RequestRefused) as no_switch:
        catalogue.check(wanted("pro", "text_to_image", model="draft", enable_safety_checker=True))

    assert no_remix.value.message == "draft cannot remix."
    assert str(no_switch.value.message).endswith("neither on nor off. Leave it out.")
    assert catalogue.built_in_prices().as_of == ""


def test_an_order_of_a_model_that_is_gone_keeps_its_name() -> None:
    assert catalogue().title_of("flux-2-old-text-to-image") == "flux-2-old-text-to-image"
    assert catalogue().title_of("") == "Flux 2"


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"name": "flux-2-pro"}, "a name in common"),
        ({"name": "flux-2-ultra", "aliases": ["max"], "slugs": {}}, "a name in common"),
        ({"name": "flux-2-ultra", "slugs": {}, "most_source": 2}, "most_source"),
    ],
)
def test_an_entry_that_contradicts_the_others_is_found_at_once(more: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        with_models(more)


def test_a_default_that_is_no_model_is_found_at_once() -> None:
    with pytest.raises(ValueError, match="default, flux-2-ultra, is none"):
        Catalogue(json.dumps({**data(), "default": "flux-2-ultra"}))


def test_the_readme_has_the_catalogues_models() -> None:
    readme = Path(__file__).parent.parent.joinpath("README.md").read_text(encoding="utf-8")
    known = catalogue()
    sizes = ModelHelp(known).resolutions
    table = [f"| model | for | {' | '.join(sizes)} |", f"|---|---{'|---' * len(sizes)}|"]
    for model in known.models:
        costs = [_cost(model, size) for size in sizes]
        table.append(f"| `{model.name}` | {model.about} | {' | '.join(costs)} |")

    assert "\n".join(table) in readme
    assert f"Published prices of {known.built_in_prices().as_of}, per picture" in readme


def _cost(model: Model, size: str) -> str:
    if size not in model.resolutions:
        return "–"
    return f"${model.price.cents[size] / 100:.2f}" if model.price else "not published"
