"""The simulator's own routes: faults, and the ledger, for tests in any language."""

from __future__ import annotations

import json

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from .faults import Fault, fault_from_json
from .ledger import Account, Ledger
from .parsing import JsonObject, as_list, as_object
from .refusals import not_json
from .tasks import Task


class ControlEndpoints:
    """What RunAPI does not have: a way to make it fail, and to see its ledger."""

    def __init__(self, faults: list[Fault], ledger: Ledger) -> None:
        self._faults = faults
        self._ledger = ledger

    async def welcome(self, _: Request) -> Response:
        """`GET /`."""
        return JSONResponse(
            {
                "simulator": "RunAPI, as far as Flux 2 needs it. Nothing here costs money.",
                "ledger": "/simulator/ledger",
                "faults": "/simulator/faults",
            }
        )

    async def add_faults(self, request: Request) -> Response:
        """`POST /simulator/faults`: one fault, or a list of them."""
        try:
            data: object = json.loads(await request.body())
        except ValueError:
            raise not_json() from None
        listed = as_list(data)
        found = [as_object(item) for item in ([data] if listed is None else listed)]
        self._faults.extend([fault_from_json(item or {}) for item in found])
        return JSONResponse({"faults": len(self._faults)}, 201)

    async def clear_faults(self, _: Request) -> Response:
        """`DELETE /simulator/faults`."""
        self._faults.clear()
        return Response(status_code=204)

    async def ledger(self, _: Request) -> Response:
        """`GET /simulator/ledger`: accounts and tasks; of a key, only its last four characters."""
        accounts = [_account_line(account) for account in self._ledger.accounts()]
        return JSONResponse({"accounts": accounts, "tasks": [_task_line(task) for task in self._ledger.tasks()]})


def _account_line(account: Account) -> JsonObject:
    return {
        "key": _masked(account.key),
        "balance_cents": account.balance_cents,
        "reserved_cents": account.reserved_cents,
        "spent_cents": account.spent_cents,
    }


def _task_line(task: Task) -> JsonObject:
    return {
        "id": task.id,
        "key": _masked(task.key),
        "action": task.action,
        "model": task.model,
        "prompt": task.prompt,
        "status": task.status,
        "cost_cents": task.cost_cents,
        "money": task.money,
        "looks": task.looks,
        "idempotency_key": task.idempotency_key,
        "client_request_id": task.client_request_id,
        "error": task.fate.error if task.status == "failed" else None,
    }


def _masked(key: str) -> str:
    return f"…{key[-4:]}" if len(key) > 8 else "…"
