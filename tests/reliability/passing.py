"""Which faults the first call has to live through, so that it brings the picture all the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tests.reliability.faults import ENDLESS, Fault, Often
from tests.reliability.gateway import Step

REPEATED = frozenset({429, 500, 502, 503, 504})
"""Statuses after which a create request is sent again, with the same Idempotency-Key."""
ENDING = frozenset({401, 402, 403})
"""A refused key and an empty account end a wait at once: nothing changes before somebody does something."""


def passes(step: Step, fault: Fault, often: Often) -> bool:
    """Whether this fault must not end the call."""
    return fault.group == "clock" or _RULES[step](fault, often)


def _create(fault: Fault, often: Often) -> bool:
    """Twice more; and where one family of paths is not found, the other is tried."""
    is_final = bool(fault.status) and fault.status not in REPEATED
    return often != "always" and (not is_final or (fault.status == 404 and often == "once"))


def _look(fault: Fault, often: Often) -> bool:
    return often != "always" and fault.status not in ENDING


def _put(fault: Fault, often: Often) -> bool:
    """Of its answer the first line counts, and nothing else."""
    return fault.is_about_the_body or (often == "once" and _may_pass(fault))


def _ask(fault: Fault, often: Often) -> bool:
    """The upload is made once more, from its ticket on."""
    return often == "once" and (_may_pass(fault) or fault.group == "body" or fault.status == 429)


def _download(fault: Fault, often: Often) -> bool:
    return often == "once" and (_may_pass(fault) or fault.name == "truncated") and fault.name != ENDLESS


def _beside(fault: Fault, often: Often) -> bool:
    """An order depends on none of these; but where nothing can be reached any more, it cannot be sent either."""
    return not (fault.is_unseen and often == "always")


def _may_pass(fault: Fault) -> bool:
    return fault.group in {"connection", "way"} or fault.status >= 500


_RULES: Mapping[Step, Callable[[Fault, Often], bool]] = {
    "create": _create,
    "look": _look,
    "prepare": _ask,
    "put": _put,
    "confirm": _ask,
    "picture": _download,
    "prices": _beside,
    "quote": _beside,
    "balance": _beside,
    "webhook": _beside,
}
