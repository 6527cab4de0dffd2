"""The gallery on loopback: its page and its server, for the one browser that was given the link."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from http import HTTPStatus

from mcp.server.transport_security import TransportSecuritySettings
from mcp_types import INVALID_REQUEST, ErrorData, JSONRPCError
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flux2_mcp.gallery import page
from flux2_mcp.invocation import command
from flux2_mcp.login import pages
from flux2_mcp.server.bodies import WholeBodies, drop_body
from flux2_mcp.server.http import PATH
from flux2_mcp.server.strict import StrictServer
from flux2_mcp.sources import SourceLimits

HOST = "127.0.0.1"
MOST_BYTES = SourceLimits.max_bytes * 4 // 3 + 2**20
"""A photo in base64, and the rest of the call."""
MOST_UNWANTED = 2**16
"""Bytes of the body of a request that is refused."""
TOKEN_BYTES = 32
KEY_HEADER = "Flux2-Gallery-Key"
FROM_ELSEWHERE = "Another site led here. Copy the link from the terminal into the address bar."

SAFE: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""In every answer."""
NOTHING = "default-src 'none'; frame-ancestors 'none'"
"""The policy of what is no page."""
METHODS = {"/": "GET", "/favicon.ico": "GET", PATH: "POST"}
"""What there is."""

_INLINE = re.compile(r"<(script|style)\b[^>]*>(.*?)</\1>", re.DOTALL)


class LocalGallery:
    """Gives the page, and the server that it speaks to, to whoever holds the cookie; others learn nothing.

    Any site that a browser shows can send the cookie here, so that each request has to name our address and must not
    come from another site. And a page on another port of 127.0.0.1 can have the cookie sent there, for cookies know no
    ports: the key, which the page keeps where another port's page cannot read it, has to come with each call.
    """

    def __init__(self, app: ASGIApp, *, document: str, port: int) -> None:
        self._app = app
        self._document = document
        self._host = HOST if port == 80 else f"{HOST}:{port}"  # as browsers write it
        self._origin = f"http://{self._host}"
        self._token = secrets.token_urlsafe(TOKEN_BYTES)
        self._token_is_used = False
        self._cookie = f"flux2_gallery_{port}"
        self._session = secrets.token_urlsafe(TOKEN_BYTES)
        self._key = secrets.token_urlsafe(TOKEN_BYTES)

    @property
    def link(self) -> str:
        """Opens the gallery, once."""
        return f"{self._origin}/?token={self._token}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, refuse or hand on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = self._answer(Request(scope))
        if isinstance(answer, Response):
            await drop_body(receive, most_bytes=MOST_UNWANTED)
        await answer(scope, receive, _safely(send))

    def _answer(self, request: Request) -> ASGIApp:
        if request.headers.getlist("host") != [self._host]:
            return Response(status_code=HTTPStatus.FORBIDDEN)  # also to a site whose name leads here: DNS rebinding
        if not self._comes_from_here(request):
            return _refusal(request, FROM_ELSEWHERE)
        is_known, is_page = self._is_known(request), (request.method, request.scope["path"]) == ("GET", "/")
        if is_page and (token := request.query_params.get("token")) is not None:
            return self._opened(request, token, is_known=is_known)
        return self._known(request) if is_known else _refusal(request, _link_is_spent())

    def _known(self, request: Request) -> ASGIApp:
        path: str = request.scope["path"]
        if path not in METHODS:
            return Response(status_code=HTTPStatus.NOT_FOUND)
        if request.method != METHODS[path]:
            return Response(status_code=HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": METHODS[path]})
        if path == PATH:
            has_key = _equal(request.headers.get(KEY_HEADER, ""), self._key)
            return self._app if has_key else _refusal(request, _link_is_spent())
        return _document(self._document) if path == "/" else Response(status_code=HTTPStatus.NO_CONTENT)

    def _comes_from_here(self, request: Request) -> bool:
        """Whether no other site's page can have sent it."""
        origins, sites = request.headers.getlist("origin"), request.headers.getlist("sec-fetch-site")
        has_origin = origins == [self._origin] or (not origins and request.method != "POST")
        return has_origin and {"same-origin", "none"}.issuperset(sites)

    def _is_known(self, request: Request) -> bool:
        # All of this name: a program on another port can have set one too, but must not shut the person out.
        lines = request.headers.getlist("cookie")
        pairs = (pair.strip().partition("=") for line in lines for pair in line.split(";"))
        return any(name == self._cookie and _equal(value, self._session) for name, _, value in pairs)

    def _opened(self, request: Request, token: str, *, is_known: bool) -> Response:
        """To the page without the token, which would stay in the browser's history; once, with cookie and key."""
        if is_known:
            return RedirectResponse("/", HTTPStatus.SEE_OTHER)
        if self._token_is_used or not _equal(token, self._token):
            return _refusal(request, _link_is_spent())
        self._token_is_used = True
        answer = RedirectResponse(f"/#key={self._key}", HTTPStatus.SEE_OTHER)
        answer.set_cookie(self._cookie, self._session, httponly=True, samesite="strict")
        return answer


def local_gallery(server: StrictServer, *, port: int) -> LocalGallery:
    """The gallery of this server, to be served on this port of 127.0.0.1."""
    # Whose request it is, the gallery has found out before any of it comes here.
    app = server.streamable_http_app(
        streamable_http_path=PATH,
        stateless_http=True,
        max_request_body_size=MOST_BYTES,
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
    )
    return LocalGallery(WholeBodies(app, path=PATH, most_bytes=MOST_BYTES), document=page(), port=port)


def content_security_policy(document: str) -> str:
    """What a browser may do with this page: run and show what is in it, show pictures, and ask where it came from."""
    directives = {
        "default-src": "'none'",
        "script-src": _hashes(document, "script"),
        "style-src": _hashes(document, "style"),
        "img-src": "data: blob:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",  # no text can become HTML
    }
    return "; ".join(f"{name} {sources}" for name, sources in directives.items())


def _hashes(document: str, kind: str) -> str:
    texts = [found[2] for found in _INLINE.finditer(document) if found[1] == kind]
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts]
    return " ".join(f"'sha256-{digest}'" for digest in digests) or "'none'"


def _link_is_spent() -> str:
    again = f"press Ctrl+C in the terminal and run {command('gallery')} again"
    return f"A link opens the gallery once, in one browser. For a new one, {again}."


def _refusal(request: Request, words: str) -> Response:
    """The words as a page, or as an error that the page can show."""
    if request.method == "POST":
        error = JSONRPCError(jsonrpc="2.0", id=None, error=ErrorData(code=INVALID_REQUEST, message=words))
        return Response(error.model_dump_json(), HTTPStatus.FORBIDDEN, media_type="application/json")
    return _document(pages.page("Not opened", words, went_well=False).decode(), HTTPStatus.FORBIDDEN)


def _document(document: str, status: int = HTTPStatus.OK) -> Response:
    headers = {"Content-Security-Policy": content_security_policy(document)}
    return Response(document, status, headers, media_type="text/html")


def _safely(send: Send) -> Send:
    """Adds to each answer what keeps it from other sites and from the disk."""

    async def send_safely(message: Message) -> None:
        if message["type"] == "http.response.start":
            ours = {name.lower().encode(): value.encode() for name, value in SAFE.items()}
            theirs = [(name, value) for name, value in message["headers"] if name.lower() not in ours]
            if not any(name.lower() == b"content-security-policy" for name, _ in theirs):
                ours[b"content-security-policy"] = NOTHING.encode()
            message = {**message, "headers": [*theirs, *ours.items()]}
        await send(message)

    return send_safely


def _equal(given: str, secret: str) -> bool:
    return hmac.compare_digest(given.encode(), secret.encode())
