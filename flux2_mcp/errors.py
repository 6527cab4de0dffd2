"""Every failure, drawn as a tree; each says what happened, whether anything was charged, and what to do next.

Flux2Error
├── BadSetting              a setting that cannot be used
│   └── InsecureBaseUrl     the key would travel without TLS
├── UnreadableConfig        a host's config file that cannot be understood
├── NoApiKey                a paid call without a key
├── UnusableApiKey          a key that cannot be one: a placeholder, a line break, a letter outside ASCII
├── LoginFailed             no key came of a login
├── RequestRefused          refused here, before any request was made
│   ├── SourceRefused       a source image that cannot be used
│   └── OverLimit           a limit of the user's would be passed
├── RunApiError             RunAPI answered with an error, or not at all
│   ├── RequestRejected     400, 413, 415, 422
│   ├── KeyRejected         401, 403
│   ├── OutOfCredits        402
│   ├── NotFound            404, 405
│   ├── KeyReused           409
│   ├── Throttled           429
│   ├── Unavailable         5xx
│   ├── Unreachable         no answer at all
│   └── UnreadableAnswer    an answer that is not what the API promises
├── OutcomeUnknown          a create request whose answer was lost
├── TaskOutOfSight          a task that exists, but cannot be looked at now
├── TaskFailed              RunAPI gave up on the task, or the order was refused or never sent
│   ├── NoImages            the task completed without any image
│   └── TaskForgotten       RunAPI does not know the task with this key, though it accepted it
├── HistoryUnusable         the history cannot be read or written
├── TooManyFiles            the system lets this process open no more files and connections
├── TooManyCalls            a server that many use carries out as many calls as it may
├── NoSuchTask              nobody knows that id
├── PictureUnavailable      the picture exists, but its bytes could not be fetched
│   └── PictureUnusable     its bytes can be had, but nothing here can show or save them
└── PictureNotSaved         the picture is there, but could not be written to disk
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from typing import Self

from flux2_mcp.invocation import command

NOBODY_READS = 141
"""The exit code of what writes into a pipe that nobody reads: that of SIGPIPE, which Python ignores."""


def nobody_reads(error: BaseException, *, windows: bool = os.name == "nt") -> bool:
    """Whether writing into a pipe failed with this because its reader is gone. C's library on Windows says EINVAL."""
    # It says so of names of files, too.
    is_closed_pipe = windows and isinstance(error, OSError) and error.errno == errno.EINVAL and error.filename is None
    return is_closed_pipe or isinstance(error, BrokenPipeError | ConnectionResetError)


@dataclass(frozen=True)
class Wording:
    """Words for a model, which name tools and arguments, and for a terminal, which name commands and options."""

    tool: str
    typed: str


Words = str | Wording
"""A plain text when both are the same."""


class Flux2Error(Exception):
    """A failure that was foreseen, in words that a person and a model can act on.

    `message`, `remedy` and `str()` are for a model with tools; `typed` is for a person who types commands.
    """

    charge: str = "Nothing was charged."
    """Whether money was spent or work still runs; empty where that goes without saying."""
    remedy: str = ""
    """The next step, one sentence or two."""

    def __init__(self, message: Words, *, charge: str | None = None, remedy: Words | None = None) -> None:
        step = self._next_step() if remedy is None else remedy
        self.message, self.typed_message = _both(message)
        self.remedy, self.typed_remedy = _both(step)
        super().__init__(self.message)
        if charge is not None:
            self.charge = charge

    def __str__(self) -> str:
        return self._told(self.message, self.remedy)

    def without_frames(self) -> Self:
        """The same error, to be kept as a fact: the frames that raised it would keep alive all that they hold."""
        self.__cause__ = self.__context__ = None
        return self.with_traceback(None)

    @property
    def typed(self) -> str:
        """The same as `str()`, where it is read in a terminal."""
        return self._told(self.typed_message, self.typed_remedy)

    def _told(self, message: str, remedy: str) -> str:
        return " ".join(part for part in (message, self.charge, remedy) if part)

    def _next_step(self) -> Words:
        """The remedy when none is given; made late, because how a command is typed is known late."""
        return type(self).remedy


def _both(words: Words) -> tuple[str, str]:
    return (words, words) if isinstance(words, str) else (words.tool, words.typed)


def same_again(then: str) -> Wording:
    """The next step: to make the same call again."""
    return Wording(f"Send the same call again{then}", f"Run the same command again{then}")


class BadSetting(Flux2Error):
    """A setting that cannot be used; names the variable, never quotes a secret."""

    charge = ""


class InsecureBaseUrl(BadSetting):
    """RUNAPI_BASE_URL without TLS would show the key to the network."""

    charge = "Nothing was sent."
    remedy = "Use an https:// address in RUNAPI_BASE_URL; plain http is accepted for 127.0.0.1, ::1 and localhost only."


class UnreadableConfig(Flux2Error):
    """A host's config file that cannot be understood, so it is left alone."""

    charge = ""


class NoApiKey(Flux2Error):
    """A paid call without a key."""

    def __init__(self, message: str = "There is no RunAPI key yet.", *, remedy: str | None = None) -> None:
        super().__init__(message, remedy=remedy)

    def _next_step(self) -> Wording:
        make = f"Run `{command('login')}`, or make a key at https://runapi.ai/api_keys and set RUNAPI_API_KEY"
        demo = f"`{command('demo')}` works without one."
        return Wording(f"{make} in this server's configuration. {demo}", f"{make}. {demo}")


class UnusableApiKey(Flux2Error):
    """A key that cannot be one. The message never quotes it."""

    charge = "Nothing was sent or charged."
    remedy = "Copy the key again from https://runapi.ai/api_keys into RUNAPI_API_KEY, without quotes or spaces."


class LoginFailed(Flux2Error):
    """No key came of a login, or none that works."""

    charge = "No key was saved."

    def _next_step(self) -> str:
        return f"Run `{command('login')}` to try again."


class RequestRefused(Flux2Error):
    """A request that RunAPI would refuse, stopped here before it was made."""


class SourceRefused(RequestRefused):
    """A source image that cannot be used."""


class OverLimit(RequestRefused):
    """The request would pass a spending limit that the user set."""


class RunApiError(Flux2Error):
    """RunAPI answered with an error, or not at all."""

    def __init__(
        self,
        message: Words,
        *,
        status: int | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        in_doubt: bool = False,
        charge: str | None = None,
        remedy: Words | None = None,
    ) -> None:
        super().__init__(message, charge=charge, remedy=remedy)
        self.status = status
        """HTTP status, or None when no answer came."""
        self.request_id = request_id
        """RunAPI's id of the failed request, for its support."""
        self.retry_after = retry_after
        """Seconds that RunAPI asked to wait, already capped."""
        self.in_doubt = in_doubt
        """Whether some try of this request may have had an effect all the same."""

    def _told(self, message: str, remedy: str) -> str:
        text = super()._told(message, remedy)
        return f"{text} (RunAPI request id: {self.request_id})" if self.request_id else text


class RequestRejected(RunApiError):
    """400, 413, 415 or 422: RunAPI does not accept the request as it is."""

    remedy = "Change what it names, then send the request."


class KeyRejected(RunApiError):
    """401 or 403: the key is wrong, revoked, or not allowed to do this."""

    def _next_step(self) -> str:
        return (
            f"Run `{command('login')}` for a new key, or check RUNAPI_API_KEY; keys are listed at "
            "https://runapi.ai/api_keys."
        )


class OutOfCredits(RunApiError):
    """402: the account cannot pay for this."""

    remedy = "Add credits at https://runapi.ai, then send the request again."


class NotFound(RunApiError):
    """404 or 405: there is nothing at that address for this key."""

    remedy = "Check RUNAPI_BASE_URL and RUNAPI_DIALECT."


class KeyReused(RunApiError):
    """409: the Idempotency-Key was used for another request."""

    remedy = "Wait a minute, then send the request."


class Throttled(RunApiError):
    """429: too many requests for this key."""

    remedy = "Wait a minute, then send the request."


class Unavailable(RunApiError):
    """5xx: RunAPI has a problem of its own."""

    remedy = "Wait a few minutes, then send the request."


class Unreachable(RunApiError):
    """No answer at all: no connection, or none in time."""

    def _next_step(self) -> Wording:
        which = f"`{command('doctor')}` says which address is asked, and where it comes from."
        return Wording("Check the network and RUNAPI_BASE_URL.", f"Check the network; {which}")


class UnreadableAnswer(RunApiError):
    """An answer that is not what the API promises."""

    remedy = "Wait a minute, then send the request; if it stays so, check RUNAPI_BASE_URL."


class OutcomeUnknown(Flux2Error):
    """A create request may or may not have made a task; only the same call can find out, because it may order."""

    def __init__(self, message: str, *, order_id: str, too_late: bool = False) -> None:
        how = (
            "it asks with the same Idempotency-Key and so finds that very task, or orders it now if RunAPI never heard "
            "of it."
        )
        again = Wording(
            f"Send the same call again within 15 minutes of the first, without repeat=true: {how} task_status with "
            f"task_id='{order_id}' only looks, and orders nothing.",
            f"Run the same generate or remix command again within 15 minutes of the first, without --repeat: {how} "
            f"`{command(f'status {order_id}')}` only looks, and orders nothing.",
        )
        late = (
            f"Order {order_id} is too old to be asked about: to ask for the same again would be a new order. Look for "
            "it in the account at https://runapi.ai before you order it again."
        )
        super().__init__(
            message,
            charge="It is not known whether RunAPI accepted the order; if it did, it is paid once.",
            remedy=late if too_late else again,
        )


class TooManyFiles(Flux2Error):
    """The system lets this process open no more files and connections."""

    charge = "What was ordered before is in the history, and is paid for once."
    remedy = (
        "Send the same call again within 15 minutes, without repeat=true: it finds what it has ordered, or orders it "
        "now. If it stays so, restart the server, or raise the limit (ulimit -n)."
    )
    what = "The system lets this server open no more files or connections (Too many open files)."

    def __init__(self) -> None:
        super().__init__(self.what)


def has_too_many_files(error: BaseException | None) -> bool:
    """Whether this, or what led to it, is that the system opens nothing more for us."""
    while error and not (isinstance(error, OSError) and error.errno in {errno.EMFILE, errno.ENFILE}):
        error = error.__cause__
    return error is not None


def foreseen(error: BaseException | None) -> Flux2Error | None:
    """An error of ours, or of the system's what we say of it; None for a crash."""
    if isinstance(error, Flux2Error):
        return error
    return TooManyFiles() if has_too_many_files(error) else None


class TaskOutOfSight(Flux2Error):
    """A task that exists, but cannot be looked at now."""

    def __init__(self, message: str, *, task_id: str) -> None:
        super().__init__(
            message,
            charge="The task was accepted and may still be running; it is paid for once, when it completes.",
            remedy=Wording(
                f"Call task_status with task_id='{task_id}' in a minute; do not generate again.",
                f"Run `{command(f'status {task_id}')}` in a minute.",
            ),
        )


class TaskFailed(Flux2Error):
    """RunAPI gave up on the task, or its order was refused or never sent."""

    charge = "RunAPI does not charge for failed tasks."

    def __init__(self, message: str, *, task_id: str, charge: str | None = None, remedy: Words | None = None) -> None:
        super().__init__(
            message, charge=charge, remedy=remedy or f"Change the words, or send it once more. Task id: {task_id}."
        )


class NoImages(TaskFailed):
    """The task completed, but RunAPI delivered no image with it."""

    def __init__(self, message: str, *, task_id: str, cost_cents: int | None) -> None:
        cost = "RunAPI stated no cost." if cost_cents is None else f"RunAPI states a cost of ${cost_cents / 100:.2f}."
        super().__init__(
            message,
            task_id=task_id,
            charge=cost,
            remedy=Wording(
                f"Look once more with task_status and task_id='{task_id}'; if it stays so, ask RunAPI's support. "
                "Do not generate again.",
                f"Look once more with `{command(f'status {task_id}')}`; if it stays so, ask RunAPI's support.",
            ),
        )


class TaskForgotten(TaskFailed):
    """RunAPI accepted the task, and long afterwards does not know it with this key."""

    what = "RunAPI does not know this task with this key, or does not know it any more."

    def __init__(self, *, task_id: str, estimated_cents: int | None) -> None:
        cost = "" if estimated_cents is None else f", for about ${estimated_cents / 100:.2f}"
        super().__init__(
            self.what,
            task_id=task_id,
            charge=f"It was accepted{cost}; whether it was charged is not known here.",
            remedy=(
                f"Check that the key is of the account that ordered it, and look for task {task_id} in that account "
                "at https://runapi.ai. Order it again only if its picture is not there."
            ),
        )


class HistoryUnusable(Flux2Error):
    """The history cannot be read or written; without one, a lost answer could be paid for twice."""

    charge = "Nothing was ordered."

    def _next_step(self) -> Words:
        return same_again(
            " once that is fixed. FLUX2_HISTORY=off goes on without a history: then a lost answer may be paid for "
            "twice, and a daily limit starts anew."
        )


class TooManyCalls(Flux2Error):
    """A caller, or all callers of a server together, have as many calls in flight as they may."""

    charge = "Nothing was sent or charged."
    remedy = "Wait until one of them has ended, then send this call."


class NoSuchTask(Flux2Error):
    """Nobody knows that id: neither our history nor RunAPI with this key."""

    charge = ""


class PictureUnavailable(Flux2Error):
    """The picture exists and was paid for, but its bytes could not be fetched."""

    charge = ""


class PictureUnusable(PictureUnavailable):
    """Its bytes can be had, but nothing here can show or save them, and they will be the same the next time."""

    def _next_step(self) -> Words:
        return Wording(
            "To fetch it again would bring the same file. It was paid for and lies at its URL, which recent_tasks "
            "lists too: open that link, or give it to the person.",
            "To fetch it again would bring the same file. It was paid for and lies at its URL: open that link.",
        )


class PictureNotSaved(Flux2Error):
    """The picture could not be written to disk; its bytes are still at hand."""

    charge = ""
