"""`flux2-mcp token`, as whoever runs the server types it."""

from __future__ import annotations

from pathlib import Path

from tests.terminal.conftest import Command, command

__all__ = ["command"]


async def test_a_token_is_made_listed_and_revoked(command: Command, tmp_path: Path) -> None:
    path = str(tmp_path / "etc" / "tokens")
    added = await command("token", "add", "ada", "--daily-budget", "5", FLUX2_HTTP_TOKENS_FILE=path)
    listed = await command("token", "list", FLUX2_HTTP_TOKENS_FILE=path)
    revoked = await command("token", "revoke", "ada", FLUX2_HTTP_TOKENS_FILE=path)
    left = await command("token", "list", FLUX2_HTTP_TOKENS_FILE=path)

    assert added.out.startswith("flux2_")
    assert len(added.out.strip()) > 40
    assert listed.out == "ada daily_budget=5\n"
    assert added.out.strip() not in listed.out
    assert (revoked.code, left.out) == (0, "")
    assert left.err == "Nobody has a token yet; `flux2-mcp token add NAME` makes one.\n"


async def test_what_cannot_be_done_is_said(command: Command, tmp_path: Path) -> None:
    path = str(tmp_path / "tokens")
    await command("token", "add", "ada", FLUX2_HTTP_TOKENS_FILE=path)
    twice = await command("token", "add", "ada", FLUX2_HTTP_TOKENS_FILE=path)
    unknown = await command("token", "revoke", "ben", FLUX2_HTTP_TOKENS_FILE=path)
    odd = await command("token", "add", "a b", FLUX2_HTTP_TOKENS_FILE=path)
    dear = await command("token", "add", "ben", "--daily-budget", "much", FLUX2_HTTP_TOKENS_FILE=path)

    assert [each.code for each in (twice, unknown, odd, dear)] == [2] * 4
    assert "There is a token for ada already." in twice.err
    assert "There is no token for 'ben'" in unknown.err
    assert "`flux2-mcp token list` says who has one." in unknown.err
    assert "cannot be a name" in odd.err
    assert "an amount in US dollars" in dear.err
