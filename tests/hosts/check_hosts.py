"""Real hosts against what `flux2-mcp install` wrote for them: each must find our server and get all of its tools.

Run it as `make hosts`, with Node.js and npm. Every host is downloaded by npx, runs in a home folder of its own that
already holds somebody else's settings, and gets no login: where only its model hears which tools there are, the model
is tests/hosts/model.py, on this machine.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Timer

import anyio
from mcp import StdioServerParameters
from mcp.client import Client
from mcp.client.stdio import stdio_client

Message = Mapping[str, object]

BIN = Path(sys.executable).parent
PATIENCE = 170
"""Seconds for one command, a first download included."""


@dataclass(frozen=True)
class Bench:
    """A scratch home, and a model that writes down what it is offered."""

    home: Path
    model: str
    offers: Path

    def run(self, *command: str, say: Sequence[Message] = (), **environ: str) -> str:
        """What a command prints; with `say`, what it answers to these messages before its stdin is closed."""
        keep = ("PATH", "LANG", "NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE")
        npm = {name: value for name, value in os.environ.items() if name.lower().startswith("npm_")}
        npm.setdefault("npm_config_cache", os.environ.get("HOME", "/tmp") + "/.npm")  # noqa: S108 a cache, not a secret
        if (npmrc := Path.home() / ".npmrc").is_file():
            npm.setdefault("npm_config_userconfig", str(npmrc))
        kept = {name: os.environ[name] for name in keep if name in os.environ}
        process = subprocess.Popen(  # noqa: S603 these very programs are what is looked at
            command,
            cwd=self.home,
            env={**kept, **npm, "HOME": str(self.home), **environ},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            return _conversation(process, say) if say else process.communicate(timeout=PATIENCE)[0]
        except subprocess.TimeoutExpired:
            return f"{command[-1]} did not end within {PATIENCE} seconds"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def offered(self) -> str:
        """Everything that was sent to the model, once."""
        text = self.offers.read_text(encoding="utf-8", errors="replace")
        self.offers.write_text("", encoding="utf-8")
        return text

    def write(self, path: str, text: str) -> None:
        """Put somebody's own settings into the home folder."""
        (self.home / path).parent.mkdir(parents=True, exist_ok=True)
        (self.home / path).write_text(text, encoding="utf-8")


def _conversation(process: subprocess.Popen[str], say: Sequence[Message]) -> str:
    """Send messages, one a line, and read until the last of them is answered."""
    assert process.stdin
    assert process.stdout
    process.stdin.writelines(json.dumps(message) + "\n" for message in say)
    process.stdin.flush()
    timer = Timer(PATIENCE, process.kill)
    timer.start()
    try:
        return next((line for line in process.stdout if f'"id":{say[-1]["id"]},' in line), "")
    finally:
        timer.cancel()


def claude_code(bench: Bench) -> str:
    bench.write(".claude.json", '{"theme": "dark", "hasCompletedOnboarding": true}')
    _install(bench, "claude-code")
    claude = ("npx", "-y", "-p", "@anthropic-ai/claude-code@2.1.197", "claude")
    listed = bench.run(*claude, "mcp", "list")
    said = bench.run(
        *claude,
        "-p",
        "hello",
        ANTHROPIC_BASE_URL=bench.model,
        ANTHROPIC_API_KEY="sk-ant-none",
        CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC="1",
        MCP_CONNECTION_NONBLOCKING="0",
        ENABLE_TOOL_SEARCH="false",
    )
    return (bench.offered() if "Connected" in listed else "") or listed + said


def codex(bench: Bench) -> str:
    bench.write(".codex/config.toml", '# mine\nmodel_reasoning_effort = "low" # for now\n')
    _install(bench, "codex")
    program = ("npx", "-y", "-p", "@openai/codex@0.169.0", "codex")
    listed = bench.run(*program, "mcp", "list")
    hello: Message = {"id": 1, "method": "initialize", "params": {"clientInfo": {"name": "check", "version": "1"}}}
    question: Message = {"id": 2, "method": "mcpServerStatus/list", "params": {}}
    answer = bench.run(*program, "app-server", say=(hello, {"method": "initialized"}, question))
    return answer if "flux2" in listed else listed


def gemini_cli(bench: Bench) -> str:
    login = '{\n  // how I log in\n  "security": {"auth": {"selectedType": "gemini-api-key"}}\n}\n'
    bench.write(".gemini/settings.json", login)
    _install(bench, "gemini-cli")
    said = bench.run(
        *("npx", "-y", "-p", "@google/gemini-cli@0.61.0", "gemini"),
        # Without a person to ask, it offers its model only what needs no asking.
        *("--yolo", "-m", "gemini-2.5-flash", "-p", "hello"),
        # It starts no server in a folder that it was not told to trust.
        GEMINI_CLI_TRUST_WORKSPACE="true",
        GOOGLE_GEMINI_BASE_URL=bench.model,
        GEMINI_API_KEY="none",
    )
    return bench.offered() or said


def openclaw(bench: Bench) -> str:
    bench.write(".openclaw/openclaw.json", "{\n  // JSON5\n  logging: {level: 'warn'},\n}\n")
    _install(bench, "openclaw")
    # It refuses to be installed by an older Node: npm brings the one that it wants, and that one brings OpenClaw.
    node = ("npx", "-y", "-p", "node@24", "-p", "npm@11")
    probe = (*node, "npx", "-y", "-p", "openclaw@2026.9.6", "openclaw", "mcp", "probe", "flux2", "--json")
    return bench.run(*probe)


def goose(bench: Bench) -> str:
    bench.write(".config/goose/config.yaml", "# mine\nGOOSE_TELEMETRY_ENABLED: false # no\n")
    _install(bench, "goose")
    said = bench.run(
        *("npx", "-y", "-p", "@aaif/goose@0.20.1", "goose"),
        *("run", "--no-session", "-t", "hello"),
        GOOSE_PROVIDER="openai",
        GOOSE_MODEL="gpt-4o",
        OPENAI_HOST=bench.model,
        OPENAI_API_KEY="none",
    )
    return bench.offered() or said


CHECKS: Mapping[str, Callable[[Bench], str]] = {
    "Claude Code 2.1.197": claude_code,
    "Codex 0.169.0": codex,
    "Gemini CLI 0.61.0": gemini_cli,
    "OpenClaw 2026.9.6": openclaw,
    "goose 1.34.0": goose,
}


def main() -> int:
    """Check every host, or those whose names begin as the arguments say."""
    tools = anyio.run(_tools)
    failed = False
    for name, check in CHECKS.items():
        if sys.argv[1:] and not name.lower().startswith(tuple(word.lower() for word in sys.argv[1:])):
            continue
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, _model(Path(folder)) as bench:
            seen = check(bench)
        # Each spells our tools in its own way: "mcp__flux2__generate", "mcp_flux2_generate", "flux2__generate".
        missing = [tool for tool in tools if not re.search(rf'"(?:mcp_+)?(?:flux2_+)?{tool}"', seen)]
        if missing:
            failed = True
            seen = "\n".join(f"    {line[:200]}" for line in seen.splitlines()[-20:])
            print(f"{name}: does not have {', '.join(missing)}. It said:\n{seen}")
        else:
            print(f"{name}: finds the server and has all {len(tools)} tools")
    return failed


async def _tools() -> list[str]:
    parameters = StdioServerParameters(command=str(BIN / "flux2-mcp"), env={"FLUX2_HISTORY": "off"})
    async with Client(stdio_client(parameters)) as client:
        return [tool.name for tool in (await client.list_tools()).tools]


def _install(bench: Bench, host: str) -> None:
    bench.run(str(BIN / "flux2-mcp"), "install", host, "--env", "FLUX2_HISTORY=off")


@contextmanager
def _model(folder: Path) -> Generator[Bench]:
    home, offers = folder / "home", folder / "offers"
    home.mkdir()
    offers.touch()
    model = [sys.executable, str(Path(__file__).with_name("model.py")), str(offers)]
    with subprocess.Popen(model, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 our own
        assert process.stdout
        yield Bench(home, f"http://127.0.0.1:{process.stdout.readline().strip()}", offers)
        process.terminate()


if __name__ == "__main__":
    sys.exit(main())
