"""What costs nothing: status, estimate and account."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from flux2_mcp.simulator import Fault, Script, Simulator
from tests.platforms import only_on
from tests.processes import served
from tests.terminal.conftest import Command


async def test_status_looks_once_and_fetches_what_is_there(command: Command, tmp_path: Path) -> None:
    runapi = Simulator(Script(looks_until_done=3, plain_pictures=True))
    async with served(runapi) as (base_url, _):
        await command("generate", "a fox", "--wait", "0", base_url=base_url)
        [task] = runapi.ledger.paid_tasks()
        early = await command("status", task.id, base_url=base_url)
        task.looks = 3
        late = await command("status", task.id, base_url=base_url)

    assert early.code == 5
    assert early.out == ""
    assert late.code == 0, late.err
    [picture] = (tmp_path / "pictures").iterdir()
    assert late.out.splitlines()[0] == str(picture)
    assert len(runapi.ledger.tasks()) == 1


async def test_status_waits_when_it_is_told_to(command: Command) -> None:
    runapi = Simulator(Script(looks_until_done=2, plain_pictures=True))
    async with served(runapi) as (base_url, _):
        await command("generate", "a fox", "--wait", "0", base_url=base_url)
        [task] = runapi.ledger.paid_tasks()
        ended = await command("status", task.id, "--wait", "--json", base_url=base_url)

    document: dict[str, Any] = json.loads(ended.out)
    assert ended.code == 0, ended.err
    assert document["outcome"] == "done"
    assert document["pictures"][0]["task_id"] == task.id


async def test_status_of_what_nobody_knows_ends_with_2(command: Command) -> None:
    async with served() as (base_url, _):
        ended = await command("status", "tsk_0000", base_url=base_url)

    assert ended.code == 2
    assert "knows a task 'tsk_0000'" in ended.err


@pytest.mark.parametrize("command_line", [["status"], ["generate", "a fox"]], ids=["status", "generate"])
async def test_what_is_ordered_already_is_not_said_to_be_sent(command: Command, command_line: list[str]) -> None:
    runapi = Simulator(Script(looks_until_done=2, plain_pictures=True))
    async with served(runapi) as (base_url, _):
        await command("generate", "a fox", "--wait", "0", base_url=base_url)
        [task] = runapi.ledger.paid_tasks()
        task.looks = 2
        ended = await command(*command_line, *([task.id] if len(command_line) == 1 else []), base_url=base_url)

    assert ended.code == 0, ended.err
    assert "Sending the order" not in ended.err
    assert "Asking RunAPI how the picture is doing" in ended.err
    assert ("nothing was ordered anew" in ended.err) == (command_line[0] == "generate")


async def test_an_order_in_doubt_is_asked_about_with_a_command_that_exists(command: Command) -> None:
    """`status` only looks; the command that ordered it finds out."""
    async with served() as (base_url, runapi):
        runapi.faults.append(Fault(on="create", status=503, times=99))
        runapi.faults.insert(0, Fault(on="create", after=True, lose=True))
        first = json.loads((await command("generate", "a fox", "--json", base_url=base_url)).out)
        order = first["pictures"][0]["task_id"]
        ended = await command("status", order, base_url=base_url)

    assert "task_status" not in json.dumps(first)
    assert f"`flux2-mcp status {order}`" in first["pictures"][0]["error"]
    assert ended.code == 5
    assert "Run the same generate or remix command again within 15 minutes" in ended.err
    assert "Sending the order" not in ended.err
    assert "Looking for the order" in ended.err
    assert "It failed" not in ended.err


@pytest.mark.parametrize(
    ("arguments", "environ", "words"),
    [
        (["--model", "max", "--max-cost", "1"], {"FLUX2_MAX_COST_PER_CALL": "off"}, "leave --max-cost out if you"),
        (["--count", "3"], {"FLUX2_MAX_COST_PER_CALL": "0.10"}, "or raise FLUX2_MAX_COST_PER_CALL."),
        (["--count", "3"], {"FLUX2_DAILY_BUDGET": "0.10"}, "or raise FLUX2_DAILY_BUDGET."),
        (["--callback-url", "here"], {}, "--callback-url is not an http(s) address"),
        (["--model", "max", "--safety-checker"], {}, "flux-2-max has no --safety-checker"),
    ],
    ids=["max cost", "per call", "per day", "callback", "safety checker"],
)
@pytest.mark.parametrize("name", ["generate", "estimate"])
async def test_a_refusal_names_options_and_speaks_to_you(
    command: Command, name: str, arguments: list[str], environ: dict[str, str], words: str
) -> None:
    """Tools have arguments and a person behind them; here they type."""
    async with served() as (base_url, _):
        ended = await command(name, "a fox", *arguments, base_url=base_url, **environ)

    assert ended.code == 2
    assert words in ended.out + ended.err
    assert "the person" not in ended.out + ended.err


async def test_a_path_is_not_taken_for_an_argument(command: Command, tmp_path: Path) -> None:
    """Words that look like a tool's are the person's own when they stand in a path."""
    there = tmp_path / "max_cost_usd"
    there.write_text("in the way", encoding="utf-8")
    async with served() as (base_url, _):
        ended = await command("generate", "a fox", "--save-to", str(there), base_url=base_url)

    assert ended.code == 2
    assert f"--save-to leads to {there}, which is a file" in ended.err


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("file/foxes", "there is a file in the place of a folder"),
        ("file/fox.png", "there is a file in the place of a folder"),
        pytest.param("/proc/foxes", "No such file or directory", marks=only_on("Linux", "/proc")),
        pytest.param("/sys/foxes/fox.png", "", marks=only_on("Linux", "/sys")),
    ],
)
async def test_a_place_where_nothing_can_be_saved_is_refused_before_anything_is_paid(
    command: Command, tmp_path: Path, place: str, why: str
) -> None:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    async with served() as (base_url, runapi):
        ended = await command("generate", "a fox", "--save-to", str(tmp_path / place), base_url=base_url)

    assert ended.code == 2
    assert "No picture can be saved in " in ended.err
    assert f": {why}" in ended.err
    assert "Nothing was charged. Name another folder with --save-to." in ended.err
    assert not runapi.ledger.tasks()


async def test_a_place_is_tried_without_a_trace(command: Command, tmp_path: Path) -> None:
    """A call that is refused for another reason has made no folder."""
    (tmp_path / "there").mkdir()
    async with served() as (base_url, _):
        for place in ("there", "new/foxes"):
            asked = ("generate", "a fox", "--save-to", str(tmp_path / place), "--max-cost", "0.01")
            assert (await command(*asked, base_url=base_url)).code == 2

    assert not list((tmp_path / "there").iterdir())
    assert not (tmp_path / "new").exists()


async def test_an_estimate_orders_nothing(command: Command) -> None:
    async with served() as (base_url, runapi):
        ended = await command("estimate", "a fox", "--resolution", "2k", "--count", "4", base_url=base_url)
        remix = await command("estimate", "as a woodcut", "fox.png", "--json", base_url=base_url)

    document: dict[str, Any] = json.loads(remix.out)
    assert ended.code == 0, ended.err
    assert ended.out.startswith("cost: $0.28 (4 × $0.07), for flux-2-pro-text-to-image\n")
    assert "balance: $10.00" in ended.out
    assert document["model"] == "flux-2-pro-remix-image"
    assert document["allowed"] is True
    assert not runapi.ledger.tasks()


async def test_an_estimate_becomes_the_picture_when_the_word_is_exchanged(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files may come after options, too."""
    monkeypatch.chdir(tmp_path)
    for name in ("red.png", "blue.png"):
        Image.new("RGB", (64, 64), name.removesuffix(".png")).save(tmp_path / name)
    arguments = ("as a woodcut", "red.png", "--aspect-ratio", "4:3", "blue.png")
    async with served() as (base_url, runapi):
        estimate = await command("estimate", *arguments, "--json", base_url=base_url)
        none_yet = len(runapi.ledger.tasks())
        remix = await command("remix", *arguments, base_url=base_url, FLUX2_INPUT_ROOTS=str(tmp_path))

    assert estimate.code == 0, estimate.err
    assert json.loads(estimate.out)["model"] == "flux-2-pro-remix-image"
    assert none_yet == 0
    assert remix.code == 0, remix.err
    [task] = runapi.ledger.paid_tasks()
    assert len(task.sources) == 2


async def test_an_estimate_says_where_its_price_comes_from(command: Command) -> None:
    runapi = Simulator()
    async with served(runapi) as (base_url, _):
        current = await command("estimate", "a fox", base_url=base_url)
        unknown = await command("estimate", "a fox", "--model", "max", base_url=base_url)
        runapi.faults.append(Fault(on="prices", status=503, times=99))
        built_in = await command("estimate", "a fox", base_url=base_url)

    assert "price: from RunAPI's price list, as of " in current.out
    assert "cost: not published, for flux-2-max" in unknown.out
    assert "unknown" not in unknown.out
    assert "price: built into flux2-mcp, as RunAPI did not answer, as of 2026-11-22" in built_in.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a fox", "--max-cost", "0.01"], "not allowed: "),
        (["a fox", "--aspect-ratio", "21:9"], "cannot make '21:9'"),
        (["a fox", "--count", "9"], "--count is 1 to 8"),
    ],
    ids=["limit", "ratio", "count"],
)
async def test_an_estimate_of_what_would_be_refused_ends_with_2(
    command: Command, arguments: list[str], words: str
) -> None:
    async with served() as (base_url, _):
        ended = await command("estimate", *arguments, base_url=base_url)

    assert ended.code == 2
    assert words in ended.out + ended.err
    assert "max_cost_usd" not in ended.out


async def test_the_account_says_what_is_there_and_what_the_limits_leave(command: Command) -> None:
    async with served() as (base_url, _):
        await command("generate", "a fox", base_url=base_url)
        ended = await command("account", base_url=base_url, FLUX2_DAILY_BUDGET="0.50")
        document: dict[str, Any] = json.loads((await command("account", "--json", base_url=base_url)).out)

    assert ended.code == 0, ended.err
    assert ended.out.splitlines() == [
        f"address: {base_url}",
        "balance: $9.95",
        "spent today: $0.05, at this address, from midnight UTC",
        "left today: $0.45",
        "at most per call: $1.00",
    ]
    assert document["balance_usd"] == 9.95


async def test_an_account_whose_key_is_refused_says_so(command: Command) -> None:
    runapi = Simulator()
    runapi.faults.append(Fault(on="balance", status=401, body={"error": "Key revoked"}, times=99))
    async with served(runapi) as (base_url, _):
        account = await command("account", base_url=base_url)
        document = await command("account", "--json", base_url=base_url)
        estimate = await command("estimate", "a fox", base_url=base_url)

    assert [account.code, document.code, estimate.code] == [2, 2, 2]
    assert "RunAPI said: Key revoked" in account.err
    assert "`flux2-mcp login` for a new key" in account.err
    assert "RunAPI said: Key revoked" in document.err
    assert "not allowed: RunAPI said: Key revoked" in estimate.out


async def test_an_account_without_a_balance_says_why(command: Command) -> None:
    runapi = Simulator()
    runapi.faults.append(Fault(on="balance", status=503, times=99))
    async with served(runapi) as (base_url, _):
        no_answer = await command("account", base_url=base_url)
        no_key = await command("account", base_url=base_url, RUNAPI_API_KEY="")

    assert "balance: not known" in no_answer.out
    assert "RunAPI does not say what the balance is. `flux2-mcp doctor` says why." in no_answer.err
    assert "balance: not known" in no_key.out
    assert "There is no RunAPI key yet. Run `flux2-mcp login`" in no_key.err
    assert "server's configuration" not in no_key.err
    assert [no_answer.code, no_key.code] == [1, 2]


@pytest.mark.parametrize("words", ["account", "estimate fox", "history", "recover", "status no-such-task"])
async def test_a_misspelt_limit_is_named_by_every_command(command: Command, words: str) -> None:
    """Whoever believes in a limit that is none finds out before the next bill."""
    async with served() as (base_url, _):
        ended = await command(*words.split(), base_url=base_url, FLUX2_DAILY_BUGET="1")

    assert "There is no setting FLUX2_DAILY_BUGET (did you mean FLUX2_DAILY_BUDGET?). It has no effect." in ended.err


@pytest.mark.parametrize("key", ["your-api-key", "<YOUR_RUNAPI_API_KEY>", "runapi_xxxxxxxx"])
async def test_the_key_of_an_example_is_recognised_wherever_it_is_used(command: Command, key: str) -> None:
    """One command sends to the next otherwise: log in, but the variable wins, so ask the doctor."""
    for words in (["account"], ["estimate", "a fox"], ["generate", "a fox"], ["login"]):
        ended = await command(*words, RUNAPI_API_KEY=key)

        assert ended.code in {1, 2}, words
        assert "RUNAPI_API_KEY is the placeholder of an example, not a key." in ended.err, words
        assert "Put a key from https://runapi.ai/api_keys in its place" in ended.err, words
        assert key not in ended.out + ended.err


async def test_a_placeholder_that_nobody_filled_in_does_not_send_you_to_log_in(command: Command) -> None:
    """The variable would win over what a login saves."""
    for words in (["account"], ["login"]):
        ended = await command(*words, RUNAPI_API_KEY="${RUNAPI_API_KEY}")

        assert "RUNAPI_API_KEY is an unexpanded placeholder" in ended.out + ended.err, words
        assert "take the line out of the host's config" in ended.out + ended.err, words
