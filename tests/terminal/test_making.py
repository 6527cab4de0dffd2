from __future__ import annotations

import io
import json
import os
import re
import signal
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import anyio
import httpx
import pytest
from PIL import Image

from flux2_mcp.simulator import Fault, Script, Simulator
from tests.databases import execute
from tests.paid_once.backdating import time_passes
from tests.platforms import not_on, only_on
from tests.processes import environment, finished, served, started
from tests.terminal.conftest import Command
from tests.world import BASE_URL, world

CLI = ("-m", "flux2_mcp")


def only(folder: Path) -> Path:
    [picture] = folder.iterdir()
    return picture


async def test_generate_ends_with_the_path_and_the_cost(tmp_path: Path) -> None:
    async with served() as (base_url, runapi):
        ended = await finished(
            tmp_path, *CLI, "generate", "a red fox", "--aspect-ratio", "16:9", RUNAPI_BASE_URL=base_url
        )

    assert ended.returncode == 0, ended.stderr.decode()
    path, facts = ended.stdout.decode().splitlines()
    assert Path(path) == only(tmp_path / "pictures")
    assert facts.startswith("cost: $0.05 · flux-2-pro-text-to-image · ")
    assert facts.endswith(f"task {runapi.ledger.paid_tasks()[0].id}")
    assert "is painting" in ended.stderr.decode()


async def test_where_nothing_is_saved_it_ends_with_the_link(tmp_path: Path) -> None:
    """Nobody looks at the picture here, so it is not downloaded either."""
    async with served() as (base_url, runapi):
        ended = await finished(tmp_path, *CLI, "generate", "a fox", RUNAPI_BASE_URL=base_url, FLUX2_SAVE="off")

    [task] = runapi.ledger.paid_tasks()
    assert ended.returncode == 0, ended.stderr.decode()
    link, facts = ended.stdout.decode().splitlines()
    assert link.endswith(f"/generated/{task.picture_name}.png")
    assert facts.startswith("cost: $0.05 · ")
    assert not any("/generated/" in seen.path for seen in runapi.requests)


async def test_a_prompt_that_the_output_has_no_letters_for_does_not_lose_the_path(tmp_path: Path) -> None:
    """In a pipe on Windows there are the letters of one language; the picture is paid for by then."""
    async with served() as (base_url, _):
        ended = await finished(
            tmp_path, *CLI, "generate", "a 狐 fox", RUNAPI_BASE_URL=base_url, PYTHONIOENCODING="cp1252"
        )

    assert ended.returncode == 0, ended.stderr.decode()
    [path, _] = ended.stdout.decode("cp1252").splitlines()
    assert path == str(only(tmp_path / "pictures")).replace("狐", "\\u72d0")


async def test_json_is_all_that_is_on_stdout(tmp_path: Path) -> None:
    async with served() as (base_url, _):
        ended = await finished(tmp_path, *CLI, "generate", "a fox", "--count", "2", "--json", RUNAPI_BASE_URL=base_url)

    document: dict[str, Any] = json.loads(ended.stdout)
    assert ended.returncode == 0
    assert document["outcome"] == "done"
    assert document["cost_usd"] == 0.10
    files = {Path(image["path"]) for picture in document["pictures"] for image in picture["images"]}
    assert files == set((tmp_path / "pictures").iterdir())


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
async def test_json_is_sound_in_every_encoding(tmp_path: Path, encoding: str) -> None:
    here = world(tmp_path)
    async with here.client() as client:
        await client.call_tool("generate", {"prompt": "café 狐 🦊"})
    ended = await finished(tmp_path, *CLI, "history", "--json", RUNAPI_BASE_URL=BASE_URL, PYTHONIOENCODING=encoding)

    assert json.loads(ended.stdout)["tasks"][0]["prompt"] == "café 狐 🦊"


async def test_remix_takes_files_and_saves_where_it_is_told(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths start where the person is; and what they name may be used, though no model could name it."""
    sources, elsewhere = tmp_path / "sources", tmp_path / "elsewhere"
    sources.mkdir()
    Image.new("RGB", (64, 64), "red").save(sources / "red.png")
    monkeypatch.chdir(sources)
    home = str(tmp_path / "home")
    async with served() as (base_url, runapi):
        ended = await command(
            "remix",
            "make it blue",
            "red.png",
            "--save-to",
            "../elsewhere/blue.png",
            base_url=base_url,
            HOME=home,
            USERPROFILE=home,
        )

    assert ended.code == 0, ended.err
    assert ended.out.splitlines()[0] == str(elsewhere / "blue.png")
    assert (elsewhere / "blue.png").exists()
    [task] = runapi.ledger.paid_tasks()
    assert task.action == "remix_image"


async def test_a_prompt_can_come_from_stdin(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO('{"scene": "a fox"}\n'))
    async with served() as (base_url, runapi):
        ended = await command("generate", "-", base_url=base_url)

    assert ended.code == 0, ended.err
    assert runapi.ledger.paid_tasks()[0].prompt == '{"scene": "a fox"}'


async def test_what_fails_at_runapi_ends_with_1(command: Command) -> None:
    async with served(Simulator(Script(looks_until_done=1, failure_rate=1.0))) as (base_url, _):
        ended = await command("generate", "a fox", "--json", base_url=base_url)

    document: dict[str, Any] = json.loads(ended.out)
    assert ended.code == 1
    assert document["outcome"] == "failed"
    assert "RunAPI could not make the picture" in document["pictures"][0]["error"]


async def test_where_no_picture_can_be_saved_none_is_ordered(command: Command, tmp_path: Path) -> None:
    """Nothing is shown here, so that the picture would be an address."""
    (tmp_path / "pictures").write_text("in the way", encoding="utf-8")
    async with served() as (base_url, runapi):
        ended = await command("generate", "a fox", base_url=base_url)

    assert ended.code == 2
    assert f"No picture can be saved in {tmp_path / 'pictures'}: there is a file in the place of a folder." in ended.err
    assert "Nothing was charged. Name another folder with --save-to." in ended.err
    assert not runapi.ledger.tasks()


async def test_a_picture_that_cannot_be_saved_any_more_ends_with_1_and_its_address(
    command: Command, tmp_path: Path
) -> None:
    async with served(Simulator(Script(looks_until_done=2, plain_pictures=True))) as (base_url, runapi):
        await command("generate", "a fox", "--wait", "0", base_url=base_url)
        (tmp_path / "pictures").write_text("in the way", encoding="utf-8")
        ended = await command("status", runapi.ledger.tasks()[0].id, "--wait", base_url=base_url)

    assert ended.code == 1
    assert ended.out.startswith(f"{base_url}/generated/")
    assert "cost: $0.05" in ended.out
    assert "The picture was not saved in " in ended.err


@not_on("Windows", "a pipe that nobody reads is another error there, and there is no /dev/full")
@pytest.mark.parametrize("reader", ["gone", pytest.param("full", marks=only_on("Linux", "/dev/full"))])
async def test_a_result_that_nobody_was_told_is_taken_up_by_the_same_command(
    command: Command, tmp_path: Path, reader: str
) -> None:
    err = tmp_path / "stderr.txt"
    async with served() as (base_url, runapi):
        environ = environment(tmp_path, base_url)
        with writer_to(reader) as stdout, err.open("wb") as stderr:
            words = (*CLI, "generate", "a fox")
            async with started(*words, environ=environ, stdin=False, stdout=stdout, stderr=stderr) as process:
                code = await process.wait()
        again = await command("generate", "a fox", base_url=base_url)

    assert code == {"gone": 141, "full": 1}[reader]
    assert "Traceback" not in err.read_text(encoding="utf-8")
    assert again.code == 0, again.err
    assert "This was ordered before" in again.err
    assert len(runapi.ledger.paid_tasks()) == 1
    if reader == "full":
        said = err.read_text(encoding="utf-8")
        assert "The result could not be printed: No space left on device." in said
        [task] = runapi.ledger.tasks()
        assert f"{only(tmp_path / 'pictures')}. `flux2-mcp status {task.id}` prints it; that is free." in said


@contextmanager
def writer_to(reader: str) -> Generator[BinaryIO]:
    """A stdout that cannot be written."""
    if reader == "full":
        with Path("/dev/full").open("wb") as full:
            yield full
        return
    unread, writer = os.pipe()
    os.close(unread)
    with os.fdopen(writer, "wb") as gone:
        yield gone


async def test_without_a_history_nothing_is_promised_that_it_would_take(command: Command) -> None:
    """Each command starts from nothing then."""
    runapi = Simulator(Script(looks_until_done=10**9, plain_pictures=True))
    async with served(runapi) as (base_url, _):
        going = await command("generate", "a fox", "--wait", "0", base_url=base_url, FLUX2_HISTORY="off")
        [task] = runapi.ledger.paid_tasks()
        runapi.faults.append(Fault(on="create", after=True, lose=True, times=9))
        lost = await command("generate", "a fox", "--wait", "0", base_url=base_url, FLUX2_HISTORY="off")

    assert f"Run `flux2-mcp status {task.id} --wait` to get it." in going.err
    assert "the same command would order anew. `flux2-mcp account` shows the balance." in lost.err
    assert "pays nothing" not in going.err + lost.err
    assert "Run the same command" not in going.err + lost.err


async def test_a_daily_budget_that_nothing_can_keep_orders_nothing(command: Command) -> None:
    async with served() as (base_url, runapi):
        limits = {"FLUX2_HISTORY": "off", "FLUX2_DAILY_BUDGET": "0.06"}
        ended = await command("generate", "a fox", base_url=base_url, **limits)

    assert ended.code == 2
    assert "FLUX2_DAILY_BUDGET cannot be kept with FLUX2_HISTORY=off" in ended.err
    assert "Nothing was charged." in ended.err
    assert not runapi.ledger.tasks()


async def test_recover_fetches_all_that_is_made_however_long_that_takes(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flux2_mcp.studio.jobs.SHORTEST_WAIT", 0.5)
    runapi = Simulator(Script(looks_until_done=1, plain_pictures=True))
    async with served(runapi) as (base_url, _):
        await command("generate", "a fox", "--count", "3", "--wait", "0", base_url=base_url)
        runapi.faults.append(Fault(on="picture", hang=2, times=3))
        recovered = await command("recover", base_url=base_url)

    assert recovered.code == 0, recovered.out
    assert len(list((tmp_path / "pictures").iterdir())) == 3
    assert "Not fetched yet" not in recovered.out


async def test_a_rejected_key_ends_with_2(command: Command) -> None:
    script = Script(looks_until_done=1, keys={"runapi_other": 1000})
    async with served(Simulator(script)) as (base_url, _):
        ended = await command("generate", "a fox", base_url=base_url)

    assert ended.code == 2
    assert "RUNAPI_API_KEY" in ended.err


@pytest.mark.parametrize(
    ("arguments", "environ", "words"),
    [
        (["a fox", "--aspect-ratio", "21:9"], {}, "cannot make '21:9'"),
        (["a fox", "--count", "9"], {}, "--count is 1 to 8"),
        (["a fox", "--max-cost", "0.01"], {}, "more than the $0.01"),
        (["a fox", "--max-cost", "$0.01"], {}, "or allow more with --max-cost."),
        (["a fox"], {"RUNAPI_API_KEY": ""}, "There is no RunAPI key yet"),
        (["a fox"], {"FLUX2_PREVIEW": "huge"}, "FLUX2_PREVIEW"),
        (["a fox"], {"FLUX2_CONFIRM_OVER": "0.01"}, "nobody to ask. Nothing was charged. Add --yes"),
    ],
    ids=["ratio", "count", "max cost", "its option", "no key", "setting", "consent"],
)
async def test_what_is_refused_ends_with_2_and_orders_nothing(
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    environ: dict[str, str],
    words: str,
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    async with served() as (base_url, runapi):
        ended = await command("generate", *arguments, "--json", base_url=base_url, **environ)

    document: dict[str, Any] = json.loads(ended.out)
    assert ended.code == 2
    assert document["outcome"] == "refused"
    assert words in document["error"]
    assert not runapi.ledger.tasks()


@pytest.mark.parametrize("option", [["--wait", "601"], ["--wait", "soon"], ["--max-cost", "nan"]])
async def test_a_number_that_cannot_be_is_a_usage_error(command: Command, option: list[str]) -> None:
    ended = await command("generate", "a fox", *option)

    assert ended.code == 2
    assert f"argument {option[0]}: " in ended.err


async def test_yes_is_an_answer_to_the_question_about_the_price(command: Command) -> None:
    async with served() as (base_url, _):
        ended = await command("generate", "a fox", "--yes", base_url=base_url, FLUX2_CONFIRM_OVER="0.01")

    assert ended.code == 0, ended.err


@pytest.mark.parametrize(("typed", "code"), [("y\n", 0), ("n\n", 2)])
async def test_a_person_is_asked_about_the_price(
    command: Command, monkeypatch: pytest.MonkeyPatch, typed: str, code: int
) -> None:
    monkeypatch.setattr("sys.stdin", Keyboard(typed))
    async with served() as (base_url, runapi):
        ended = await command("generate", "a fox", base_url=base_url, FLUX2_CONFIRM_OVER="0.01")

    assert ended.code == code
    assert "Flux 2 Pro: one picture for $0.05. Order?" in ended.err
    assert len(runapi.ledger.tasks()) == (code == 0)


async def test_nobody_is_asked_about_the_price_of_what_is_ordered_already(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    async with served() as (base_url, runapi):
        await command("generate", "a fox", "--wait", "0", base_url=base_url)
        ended = await command("generate", "a fox", base_url=base_url, FLUX2_CONFIRM_OVER="0.01")

    assert ended.code == 0, ended.err
    assert len(runapi.ledger.tasks()) == 1


async def test_the_same_command_after_a_picture_makes_another(command: Command) -> None:
    """It was printed, so the person has seen it."""
    async with served() as (base_url, runapi):
        await command("generate", "a fox", base_url=base_url)
        ended = await command("generate", "a fox", base_url=base_url)

    assert ended.code == 0, ended.err
    assert len(runapi.ledger.tasks()) == 2


class Keyboard(io.StringIO):
    """Somebody who types."""

    def isatty(self) -> bool:
        return True


async def test_a_picture_that_takes_longer_is_fetched_by_recover(command: Command, tmp_path: Path) -> None:
    runapi = Simulator(Script(looks_until_done=2, plain_pictures=True))
    async with served(runapi) as (base_url, _):
        ended = await command("generate", "a fox", "--wait", "0", base_url=base_url)
        [task] = runapi.ledger.paid_tasks()
        early = await command("recover", base_url=base_url)
        task.looks = 2
        recovered = await command("recover", base_url=base_url)

    assert ended.code == 5
    assert ended.out == ""
    assert f"RunAPI has the order: task {task.id}. Run `flux2-mcp status {task.id} --wait`" in ended.err
    assert (early.code, early.out) == (5, f"{task.id}: still being made.\n")
    assert recovered.code == 0
    assert str(only(tmp_path / "pictures")) in recovered.out


@pytest.mark.parametrize("later", ["recover", "status"])
async def test_what_comes_later_is_saved_where_its_command_said_wherever_that_is(
    command: Command, tmp_path: Path, later: str
) -> None:
    """Outside of every folder that a model may name; the later command names none."""
    home, elsewhere = str(tmp_path / "home"), tmp_path / "elsewhere"
    runapi = Simulator(Script(looks_until_done=3, plain_pictures=True))
    async with served(runapi) as (base_url, _):
        asked = ("generate", "a fox", "--wait", "0", "--save-to", str(elsewhere))
        ordered = await command(*asked, base_url=base_url, HOME=home, USERPROFILE=home)
        [task] = runapi.ledger.paid_tasks()
        arguments = {"recover": ["recover"], "status": ["status", task.id, "--wait"]}[later]
        ended = await command(*arguments, base_url=base_url, HOME=home, USERPROFILE=home)
        while ended.code == 5:
            ended = await command(*arguments, base_url=base_url, HOME=home, USERPROFILE=home)

    assert ordered.code == 5
    assert ended.code == 0, ended.err
    assert str(only(elsewhere)) in ended.out


@not_on("Windows", "making links there needs a right")
async def test_a_link_that_leads_elsewhere_by_then_is_not_followed(command: Command, tmp_path: Path) -> None:
    home, elsewhere, shared = str(tmp_path / "home"), tmp_path / "elsewhere", tmp_path / "shared"
    shared.mkdir()
    runapi = Simulator(Script(looks_until_done=2, plain_pictures=True))
    async with served(runapi) as (base_url, _):
        asked = ("generate", "a fox", "--wait", "0", "--save-to", str(elsewhere))
        await command(*asked, base_url=base_url, HOME=home)
        elsewhere.symlink_to(shared)
        [task] = runapi.ledger.paid_tasks()
        ended = await command("status", task.id, "--wait", base_url=base_url, HOME=home)

    assert ended.code == 1
    assert f"--save-to leads to {shared}, which is outside" in ended.err
    assert not list(shared.iterdir())


async def test_what_could_not_be_saved_is_said_and_saved_elsewhere_when_that_is_asked(
    command: Command, tmp_path: Path
) -> None:
    in_the_way, elsewhere = tmp_path / "foxes", tmp_path / "elsewhere"
    runapi = Simulator(Script(looks_until_done=2, plain_pictures=True))
    async with served(runapi) as (base_url, _):
        asked = ("generate", "a fox", "--save-to", str(in_the_way))
        await command(*asked, "--wait", "0", base_url=base_url)
        in_the_way.write_text("mine", encoding="utf-8")
        [task] = runapi.ledger.paid_tasks()
        looked = await command("status", task.id, "--wait", base_url=base_url)
        recovered = await command("recover", base_url=base_url)
        saved = await command("status", task.id, "--save-to", str(elsewhere), base_url=base_url)

    assert (looked.code, recovered.code, saved.code) == (1, 1, 0)
    for ended in (looked.err, recovered.out):
        assert f"--save-to leads to {in_the_way}, which is a file" in ended
        assert f"Run `flux2-mcp status {task.id}` to save it once that is fixed, or with --save-to PATH" in ended
    assert saved.out.startswith(str(only(elsewhere)))
    assert len(runapi.ledger.paid_tasks()) == 1


async def test_a_command_that_takes_an_order_up_is_not_refused_for_where_it_cannot_be_saved_now(
    command: Command, tmp_path: Path
) -> None:
    """It is paid for: nothing may say that nothing was charged."""
    folder = tmp_path / "foxes"
    async with served(Simulator(Script(looks_until_done=2, plain_pictures=True))) as (base_url, runapi):
        asked = ("generate", "a fox", "--save-to", f"{folder}/more")
        await command(*asked, "--wait", "0", base_url=base_url)
        folder.write_text("mine", encoding="utf-8")
        again = await command(*asked, base_url=base_url)
        anew = await command(*asked, "--repeat", base_url=base_url)

    assert again.code == 1
    assert "there is a file in the place of a folder" in again.err
    assert "Nothing was charged" not in again.err
    assert "This was ordered before" in again.err
    assert (anew.code, len(runapi.ledger.paid_tasks())) == (2, 1)


async def test_a_file_that_cannot_be_looked_at_is_fetched_and_saved_anew(command: Command, tmp_path: Path) -> None:
    """Its folder may be closed, or its disk ill."""
    async with served() as (base_url, runapi):
        await command("generate", "a fox", base_url=base_url)
        [task] = runapi.ledger.paid_tasks()
        execute(tmp_path / "data", "UPDATE orders SET paths = ?", json.dumps([f"/{'x' * 300}/fox.png"]))
        looked = await command("status", task.id, base_url=base_url)
        execute(tmp_path / "data", "UPDATE orders SET paths = ?", json.dumps([f"/{'x' * 300}/fox.png"]))
        saved = await command("status", task.id, "--save-to", str(tmp_path / "there"), base_url=base_url)

    assert (looked.code, saved.code) == (0, 0), looked.err + saved.err
    assert saved.out.startswith(str(only(tmp_path / "there")))


async def test_a_link_may_lead_where_a_name_has_the_sign_between_folders(command: Command, tmp_path: Path) -> None:
    """Such as a disk that is mounted at /media/me/disk:1."""
    there, link = tmp_path / f"disk{os.pathsep}1", tmp_path / "link"
    there.mkdir()
    link.symlink_to(there)
    home = str(tmp_path / "home")
    async with served() as (base_url, _):
        ended = await command(
            "generate", "a fox", "--save-to", str(link), base_url=base_url, HOME=home, USERPROFILE=home
        )

    assert ended.code == 0, ended.err
    assert ended.out.startswith(str(only(there)))


async def test_the_same_command_takes_up_a_picture_that_a_look_could_not_save(command: Command, tmp_path: Path) -> None:
    """What is neither a file nor seen is not delivered."""
    folder = tmp_path / "foxes"
    runapi = Simulator(Script(looks_until_done=2, plain_pictures=True))
    async with served(runapi) as (base_url, _):
        asked = ("generate", "a fox", "--save-to", str(folder))
        await command(*asked, "--wait", "0", base_url=base_url)
        folder.write_text("mine", encoding="utf-8")
        [task] = runapi.ledger.paid_tasks()
        looked = await command("status", task.id, "--wait", base_url=base_url)
        folder.unlink()
        again = await command(*asked, base_url=base_url)

    assert (looked.code, again.code) == (1, 0)
    assert again.out.startswith(str(folder))
    assert len(runapi.ledger.paid_tasks()) == 1


async def test_a_saved_picture_stays_where_it_is(command: Command, tmp_path: Path) -> None:
    async with served() as (base_url, runapi):
        made = await command("generate", "a fox", base_url=base_url)
        [task] = runapi.ledger.paid_tasks()
        looked = await command("status", task.id, "--save-to", str(tmp_path / "elsewhere"), base_url=base_url)

    assert looked.out.splitlines()[0] == made.out.splitlines()[0] == str(only(tmp_path / "pictures"))
    assert not (tmp_path / "elsewhere").exists()


async def test_recover_does_not_wait_for_a_task_that_runapi_has_forgotten(command: Command, tmp_path: Path) -> None:
    runapi = Simulator(Script(looks_until_done=2, plain_pictures=True))
    async with served(runapi) as (base_url, _):
        await command("generate", "a fox", "--wait", "0", base_url=base_url)
        runapi.faults.append(Fault(on="look", status=404, times=999))
        young = await command("recover", base_url=base_url)
        time_passes(tmp_path, minutes=61)
        old = await command("recover", base_url=base_url)

    [task] = runapi.ledger.paid_tasks()
    said = "still being made. The last look saw nothing: RunAPI said: Not found (HTTP 404)."
    assert (young.code, young.out) == (5, f"{task.id}: {said}\n")
    assert old.code == 0
    assert old.out.startswith(f"{task.id}: RunAPI does not know this task with this key")


async def test_a_task_without_an_image_stays_open_and_is_looked_at_again_with_a_command(command: Command) -> None:
    """Its image may yet be shown, and in a terminal there is no tool to call."""
    async with served() as (base_url, runapi):
        ended = await command("generate", "a fox [simulate: empty]", base_url=base_url)
        recovered = await command("recover", base_url=base_url)

    [task] = runapi.ledger.tasks()
    assert ended.code == 1
    assert f"`flux2-mcp status {task.id}`" in ended.err
    assert "task_status" not in ended.err
    assert recovered.code == 5
    assert f"Look once more with `flux2-mcp status {task.id}`" in recovered.out
    assert "task_status" not in recovered.out


async def test_a_look_with_another_key_says_that_it_saw_nothing(command: Command) -> None:
    """RunAPI shows tasks only to the key that made them; to wait would bring nothing."""
    keys = {"runapi_testkey0123456789": 1000, "runapi_another0123456789": 1000}
    async with served(Simulator(Script(looks_until_done=1, plain_pictures=True, keys=keys))) as (base_url, runapi):
        await command("generate", "a fox", "--wait", "0", base_url=base_url)
        [task] = runapi.ledger.paid_tasks()
        other = {"base_url": base_url, "RUNAPI_API_KEY": "runapi_another0123456789"}
        looked, recovered = await command("status", task.id, **other), await command("recover", **other)

    assert (looked.code, recovered.code) == (5, 5)
    for told in (looked.err, recovered.out):
        assert "The last look saw nothing: RunAPI said: " in told


async def test_recover_without_a_key_says_so(command: Command) -> None:
    ended = await command("recover", RUNAPI_API_KEY="")

    assert ended.code == 2
    assert ended.err.startswith("flux2-mcp: There is no RunAPI key yet.")


@not_on("Windows", "no process can press Ctrl-C for another there")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
async def test_a_signal_says_how_to_get_the_picture_later(tmp_path: Path, number: signal.Signals) -> None:
    runapi = Simulator(Script(looks_until_done=10**9, plain_pictures=True))
    async with served(runapi) as (base_url, _):
        code, out, err = await interrupted(tmp_path, base_url, runapi, "--json", number=number)

    document: dict[str, Any] = json.loads(out)
    [task] = runapi.ledger.paid_tasks()
    assert code == 5
    assert "Traceback" not in err
    assert document["outcome"] == "running"
    assert document["completed"] is False
    assert document["pictures"][0]["task_id"] == task.id
    assert f"task {task.id}. Run `flux2-mcp status {task.id} --wait`" in document["next_step"]


@not_on("Windows", "no process can press Ctrl-C for another there")
async def test_ctrl_c_ends_the_simulator_without_a_complaint(tmp_path: Path) -> None:
    err = tmp_path / "stderr.txt"
    environ = environment(tmp_path, "")
    with anyio.fail_after(30), err.open("wb") as stderr:
        command = (*CLI, "simulate", "--port", "0")
        async with started(*command, environ=environ, stdin=False, stdout=stderr, stderr=stderr) as process:
            while "Ctrl-C ends it." not in await anyio.Path(err).read_text(encoding="utf-8"):  # noqa: ASYNC110
                await anyio.sleep(0.05)
            address = re.search(r"http://127\.0\.0\.1:\d+", await anyio.Path(err).read_text(encoding="utf-8"))
            assert address
            async with httpx.AsyncClient() as http:
                await http.get(address[0], timeout=20)
            process.send_signal(signal.SIGINT)
            code = await process.wait()

    assert code == 130
    assert "Traceback" not in err.read_text(encoding="utf-8")


@not_on("Windows", "no process can press Ctrl-C for another there")
async def test_the_same_command_takes_up_what_ctrl_c_left(command: Command, tmp_path: Path) -> None:
    """Ctrl-C while the order is on its way: nobody knows of its task, and it is paid once all the same."""
    runapi = Simulator(Script(looks_until_done=1, plain_pictures=True))
    runapi.faults.append(Fault(on="create", after=True, hang=30))
    async with served(runapi) as (base_url, _):
        code, out, err = await interrupted(tmp_path, base_url, runapi)
        again = await command("generate", "a fox", base_url=base_url)

    assert code == 5
    assert out == ""
    assert "Run the same command again, without --repeat" in err
    assert "Traceback" not in err
    assert again.code == 0, again.err
    assert len(runapi.ledger.paid_tasks()) == 1


async def interrupted(
    home: Path, base_url: str, runapi: Simulator, *more: str, number: signal.Signals = signal.SIGINT
) -> tuple[int, str, str]:
    """A `generate` that gets Ctrl-C, or another signal, once its task was made: exit code, stdout and stderr."""
    out, err = home / "stdout.txt", home / "stderr.txt"
    with anyio.fail_after(60), out.open("wb") as stdout, err.open("wb") as stderr:
        environ = environment(home, base_url)
        command = (*CLI, "generate", "a fox", *more)
        async with started(*command, environ=environ, stdin=False, stdout=stdout, stderr=stderr) as process:
            while not runapi.ledger.tasks():  # noqa: ASYNC110 the simulator has no event for it
                await anyio.sleep(0.01)
            process.send_signal(number)
            code = await process.wait()
    return code, out.read_text(encoding="utf-8"), err.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["generate", "remix", "history", "status", "estimate"])
async def test_the_help_has_an_example_and_the_exit_codes(command: Command, name: str) -> None:
    ended = await command(name, "--help")

    assert ended.code == 0
    assert f"flux2-mcp {name} " in ended.out.split("example")[1]
    assert "exit codes:" in ended.out
