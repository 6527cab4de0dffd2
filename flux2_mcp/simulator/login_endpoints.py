"""The browser login: a page that asks the person, and the exchange of its code for a key (PKCE, S256)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import html
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qsl, urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from .clock import Clock
from .ledger import Ledger
from .parsing import json_object, text
from .refusals import bad_request
from .script import Script


@dataclass
class Login:
    """One request to log in, from the first look at its page on."""

    state: str
    challenge: str
    port: int
    display_code: str
    hostname: str
    asked_at: float
    answer: Literal["", "allow", "deny"] = ""


class LoginEndpoints:
    """Asks a person in their browser whether a program on their machine may have a key."""

    def __init__(self, script: Script, clock: Clock, ledger: Ledger) -> None:
        self._script = script
        self._clock = clock
        self._ledger = ledger
        self._logins: dict[str, Login] = {}
        self._by_code: dict[str, Login] = {}

    async def ask(self, request: Request) -> Response:
        """`GET /cli/authorize`."""
        asked = _login(request.query_params, self._clock())
        if asked is None:
            return _message("This link is not complete", "Start the login again in your program.", status=400)
        login = self._logins.setdefault(asked.state, asked)
        return self._closed_page(login) or _question(login)

    async def decide(self, request: Request) -> Response:
        """`POST /cli/authorize`: what the buttons of the page do."""
        form = dict(parse_qsl((await request.body()).decode()))
        login = self._logins.get(form.get("state", ""))
        if login is None:
            return _message("There is no such login", "Start it again in your program.", status=404)
        if page := self._closed_page(login):
            return page
        login.answer = "allow" if form.get("answer") == "allow" else "deny"
        if login.answer == "deny":
            # With the state, as RFC 6749 (4.1.2.1) has it.
            told = {"error": "access_denied", "error_description": "The request was denied", "state": login.state}
        else:
            told = {"code": secrets.token_urlsafe(24), "state": login.state}
            self._by_code[told["code"]] = login
        return RedirectResponse(f"http://127.0.0.1:{login.port}/callback?{urlencode(told)}", 303)

    async def exchange(self, request: Request) -> Response:
        """`POST /api/v1/cli/exchange`: a key for a code, once, for whoever knows the verifier.

        Raises:
            Refusal: 400, and the code is used up all the same.
        """
        body = await json_object(request)
        login = self._by_code.pop(text(body.get("code")), None)
        if login is None or self._has_expired(login):
            msg = "Code is invalid, expired or already used"
            raise bad_request(msg)
        if not hmac.compare_digest(_challenge(text(body.get("code_verifier"))), login.challenge):
            msg = "Code verifier does not match"
            raise bad_request(msg)
        if body.get("redirect_port") != login.port:
            msg = "Redirect port does not match"
            raise bad_request(msg)
        account = self._ledger.open_account(f"runapi_{secrets.token_hex(16)}")
        hostname = request.headers.get("x-cli-hostname") or login.hostname
        issued = {"key": account.key, "name": f"RunAPI token on {hostname}", "token_type": "standard"}
        email = f"person{account.number}@simulator.invalid"
        return JSONResponse({**issued, "user": {"email": email}}, 201)

    def _has_expired(self, login: Login) -> bool:
        return self._clock() - login.asked_at > self._script.login_seconds

    def _closed_page(self, login: Login) -> Response | None:
        """The page for a login that cannot be decided any more."""
        if login.answer:
            said = "allowed" if login.answer == "allow" else "denied"
            return _message("Already answered", f"You have {said} this login in another tab.", status=409)
        if self._has_expired(login):
            return _message("This login has expired", "Start it again in your program.", status=410)
        return None


def _login(asked: Mapping[str, str], now: float) -> Login | None:
    state, challenge, port = (asked.get(name, "") for name in ("state", "code_challenge", "redirect_port"))
    is_complete = bool(state) and re.fullmatch(r"[A-Za-z0-9_-]{43}", challenge) and re.fullmatch(r"\d{1,5}", port)
    if not is_complete or asked.get("code_challenge_method") != "S256" or not 0 < int(port) < 65536:
        return None
    return Login(state, challenge, int(port), asked.get("display_code", ""), asked.get("hostname", ""), now)


def _challenge(verifier: str) -> str:
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


STYLE = """\
:root { color-scheme: light dark; font: 17px/1.5 system-ui, sans-serif }
body { display: grid; place-items: center; min-height: 100vh; margin: 0; background: light-dark(#eef1f6, #14171c) }
main { box-sizing: border-box; width: min(28rem, 92vw); padding: 2.2rem; border-radius: 14px; text-align: center;
  overflow-wrap: anywhere; background: light-dark(#fff, #22262d); box-shadow: 0 8px 30px rgb(0 0 0 / .12) }
h1 { margin: 0 0 .5rem; font-size: 1.35rem }
p { margin: .6rem 0 }
code { display: block; margin: 1.3rem 0; padding: .9rem; border-radius: 10px;
  font: 600 1.7rem/1.2 ui-monospace, monospace; letter-spacing: .12em; background: light-dark(#f1f4f9, #2d323b) }
form { display: flex; gap: .8rem; margin-top: 1.6rem }
button { flex: 1; padding: .7rem; border: 1px solid light-dark(#cbd2dd, #454c58); border-radius: 10px; cursor: pointer;
  font: inherit; color: inherit; background: none }
button[value=allow] { border-color: #1d4ed8; color: #fff; background: #1d4ed8 }
small { display: block; margin-top: 1.6rem; color: light-dark(#6b7280, #9aa2ae) }
"""


def _question(login: Login) -> Response:
    who = html.escape(login.hostname or "a program")
    return _page(
        "Allow access?",
        f"""\
<p>A program on <b>{who}</b> asks for a key to your account. Allow it only if it shows you the same code:</p>
<code>{html.escape(login.display_code)}</code>
<form method="post" action="/cli/authorize">
<input type="hidden" name="state" value="{html.escape(login.state)}">
<button name="answer" value="deny">Deny</button>
<button name="answer" value="allow">Allow</button>
</form>""",
    )


def _message(title: str, words: str, *, status: int) -> Response:
    return _page(title, f"<p>{html.escape(words)}</p>", status=status)


def _page(title: str, inside: str, *, status: int = 200) -> Response:
    return HTMLResponse(
        f"""\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} · Simulated RunAPI</title>
<style>{STYLE}</style>
<main>
<h1>{title}</h1>
{inside}
<small>This is a simulated RunAPI. Nothing here costs money.</small>
</main>
</html>
""",
        status,
        {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"},
    )
