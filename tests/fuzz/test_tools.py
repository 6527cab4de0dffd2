from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp import MCPError
from mcp_types import PromptReference, ResourceTemplateReference

from tests.fuzz.anything import anything, joined, texts, tried
from tests.fuzz.door import Door, opened
from tests.sources.owner_sources import data_uri, png

SOURCES = ("https://pictures.example/cat.png", data_uri(png()), "~/mine.png", "flux2://tasks/none/images/0")
FITTING: Mapping[str, st.SearchStrategy[object]] = {
    "prompt": st.sampled_from(["a fox", "a hare", '{"scene": "a fox"}', "a fox [simulate: failed]"]),
    "model": st.sampled_from(["pro", "flex", "max", "klein", "flux-2-pro", "flux-2-flex-remix-image"]),
    "count": st.integers(1, 3),
    "wait_seconds": st.sampled_from([0, 1, 45]),
    "source_image_urls": st.lists(st.sampled_from(SOURCES) | texts, min_size=1, max_size=3),
    "aspect_ratio": st.sampled_from(["1:1", "16:9", "auto"]),
    "output_resolution": st.sampled_from(["1k", "2k", "1K"]),
    "save_to": st.sampled_from(["~/foxes", "fox.png", "~/foxes/a.png"]) | texts,
    "callback_url": st.just("https://me.example/done"),
    "max_cost_usd": st.sampled_from([0, 0.05, 1]),
    "index": st.integers(0, 2),
    "limit": st.integers(1, 50),
    "cursor": texts,
}
"""What an argument may well be; others may be anything."""


def arguments_of(schema: Mapping[str, Any]) -> st.SearchStrategy[dict[str, object]]:
    """Arguments of which each one fits or is anything, and now and then one that there is not."""
    each = {name: FITTING.get(name, anything) | FITTING.get(name, anything) | anything for name in schema["properties"]}
    required: Iterable[str] = schema.get("required", ())
    known = st.fixed_dictionaries(
        {name: each[name] for name in required},
        optional={name: value for name, value in each.items() if name not in required},
    )
    unknown = st.dictionaries(texts, anything, max_size=0) | st.dictionaries(texts, anything, max_size=2)
    return joined(known, unknown)


@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_whatever_a_tool_is_given_it_answers_and_what_it_refuses_is_not_paid(
    tmp_path: Path, mode: Literal["legacy", "auto"]
) -> None:
    """No crash, no key, and the next call works."""
    (tmp_path / "mine.png").write_bytes(png())
    with opened(tmp_path, mode=mode) as door:
        tools = {each.name: each.input_schema for each in door.ask(lambda client: client.list_tools()).tools}
        calls = st.one_of(
            *(st.tuples(st.just(name), arguments_of(schema)) for name, schema in tools.items()),
            st.tuples(texts, st.dictionaries(texts, anything, max_size=2)),
        )

        @tried(40)
        @given(calls)
        def check(call: tuple[str, dict[str, object]]) -> None:
            before = len(door.here.paid)
            try:
                refused = door.call(*call).is_error
            except MCPError:
                refused = True
            assert len(door.here.paid) == before or not refused
            door.still_works()

        check()


numbers = st.sampled_from(["0", "1", "-1", "00", "٣", "9" * 5000]) | texts
uris = st.one_of(
    texts,
    st.builds("flux2://tasks/{}".format, texts),
    st.builds("flux2://tasks/{}/images/{}".format, st.sampled_from(["ID", "none"]) | texts, numbers),
    st.builds("{}{}".format, st.sampled_from(["flux2://pricing", "flux2://tasks", "FLUX2://models", "ui://"]), texts),
)


def test_whatever_is_read_completed_or_taken_as_a_prompt_is_answered_and_orders_nothing(tmp_path: Path) -> None:
    with opened(tmp_path) as door:
        door.call("generate", {"prompt": "a fox"})
        [task] = door.here.paid
        prompts = {each.name: each for each in door.ask(lambda client: client.list_prompts()).prompts}

        @tried(60)
        @given(st.data())
        def check(data: st.DataObject) -> None:
            with suppress(MCPError):
                _ask_for_anything(door, data, prompts, task.id)
            assert door.here.paid == [task]

        check()
        door.still_works()


def _ask_for_anything(door: Door, data: st.DataObject, prompts: Mapping[str, Any], task_id: str) -> None:
    kind = data.draw(st.sampled_from(["read", "prompt", "complete"]))
    if kind == "read":
        uri = data.draw(uris).replace("ID", task_id)
        door.ask(lambda client: client.read_resource(uri))
        return
    name = data.draw(st.sampled_from(sorted(prompts)) | texts)
    known = [each.name for each in prompts[name].arguments] if name in prompts else []
    names = st.sampled_from(known) | texts if known else texts
    if kind == "prompt":
        given = data.draw(st.dictionaries(names, texts, max_size=6))
        door.ask(lambda client: client.get_prompt(name, given))
        return
    template = ResourceTemplateReference(uri=data.draw(uris | st.just("flux2://tasks/{task_id}/images/{index}")))
    ref = data.draw(st.sampled_from([PromptReference(name=name), template]))
    argument = {"name": data.draw(names | st.sampled_from(["task_id", "index"])), "value": data.draw(texts)}
    door.ask(lambda client: client.complete(ref, argument))
