"""The endpoints for the caller's profile and balance, and for the list of models."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from .ledger import Ledger
from .models import slugs
from .parsing import bearer
from .prices import ACTIONS
from .script import Script


class ProfileEndpoints:
    """Answers who is asking, what their balance is, and which models there are."""

    def __init__(self, script: Script, ledger: Ledger) -> None:
        self._models = script.models
        self._ledger = ledger

    async def me(self, request: Request) -> Response:
        """`GET /api/v1/me`."""
        number = self._ledger.authenticated(bearer(request)).number
        account = {"id": number, "name": f"Simulated account {number}"}
        person = {"id": number, "name": f"Simulated person {number}", "email": f"person{number}@simulator.invalid"}
        return JSONResponse({**person, "account": account})

    async def balance(self, request: Request) -> Response:
        """`GET /api/v1/me/balance`; all money is paid money, and every day is today."""
        account = self._ledger.authenticated(bearer(request))
        balance = {"balance_cents": account.balance_cents, "paid_balance_cents": account.balance_cents}
        spent = {"spent_cents_today": account.spent_cents, "spent_cents_total": account.spent_cents}
        return JSONResponse({**balance, "bonus_balance_cents": 0, **spent})

    async def list_models(self, _: Request) -> Response:
        """`GET /v1/models`."""
        found = [slug for action in ACTIONS for slug in slugs(self._models, action)]
        return JSONResponse({"data": [{"id": slug, "object": "model", "owned_by": "simulator"} for slug in found]})
