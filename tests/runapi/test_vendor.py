"""A tripwire: what our code restates, against the vendor's own packages.

A failure here means that the pinned `runapi-core` or `runapi-flux-2` was updated and says something new. Each test
names the file of ours to compare with it.
"""

from __future__ import annotations

import httpx
import pytest
from runapi.core import constants, errors
from runapi.core.account import Account, AccountBalanceResponse
from runapi.core.files import FilesClient, UploadResponse
from runapi.core.models import TaskResponse, TaskResult, TaskResultResponse, TaskUsage
from runapi.core.polling import ACTIVE_STATUSES
from runapi.core.pricing import PriceQuote as VendorQuote
from runapi.core.pricing import PriceQuoteResponse, PriceScheduleListResponse, Pricing
from runapi.core.pricing import PriceSchedule as VendorSchedule
from runapi.flux_2.resources import RemixImage, TextToImage
from runapi.flux_2.types import CompletedTextToImageResponse, Image

from flux2_mcp.credentials import DEFAULT_BASE_URL
from flux2_mcp.runapi.http_errors import error_from
from flux2_mcp.runapi.models import Balance, PriceQuote, PriceSchedule, PriceSchedules, TemporaryFile, Wire, task_from
from flux2_mcp.runapi.retries import TRANSIENT, backoff
from flux2_mcp.runapi.routes import SDK
from tests.runapi.network import FOX, simulated


def fields(vendor: type) -> set[str]:
    """The fields that one of the vendor's models declares."""
    return {name for each in vendor.__mro__ for name, value in vars(each).items() if type(value).__name__ == "Field"}


def test_routes_py_posts_where_the_vendor_does() -> None:
    assert SDK.create_path("text_to_image") == TextToImage.ENDPOINT
    assert SDK.create_path("remix_image") == RemixImage.ENDPOINT
    assert SDK.looks[0].format(action="text_to_image", id="t-1") == f"{TextToImage.ENDPOINT}/t-1"


async def test_client_py_asks_where_the_vendor_does() -> None:
    simulator, api = simulated()
    await api.balance()
    await api.price_schedules()
    await api.price_quote("text_to_image", FOX)
    await api.upload(b"png", filename="a.png")

    assert [seen.path for seen in simulator.requests if seen.method != "PUT"] == [
        Account.BALANCE_ENDPOINT,
        Pricing.SCHEDULES_ENDPOINT,
        Pricing.QUOTES_ENDPOINT,
        FilesClient.PREPARE_ENDPOINT,
        FilesClient.CONFIRM_ENDPOINT,
    ]


@pytest.mark.parametrize("word", sorted({*TaskResponse.Status.ALL, *TaskResult.Status.ALL, *ACTIVE_STATUSES}))
def test_models_py_knows_the_vendors_words(word: str) -> None:
    task = task_from({"id": "t-1", "status": word})
    assert task is not None

    assert task.status == word
    assert task.is_over is (word not in ACTIVE_STATUSES)


def test_models_py_reads_the_vendors_names() -> None:
    """A task with everything that the vendor's models declare comes through ours with nothing missing."""
    assert fields(CompletedTextToImageResponse) == {"id", "status", "images", "error", "usage"}
    assert fields(Image) == {"url"}
    assert fields(TaskUsage) == {"cost", "generated_images"}
    assert fields(TaskResult) == {"id", "status", "error", "response"}
    assert fields(TaskResultResponse) == {"status", "content_type", "headers", "body"}


@pytest.mark.parametrize(
    ("ours", "vendors", "own"),
    [
        (Balance, AccountBalanceResponse, set[str]()),
        (PriceSchedule, VendorSchedule, set[str]()),
        (PriceSchedules, PriceScheduleListResponse, {"etag"}),
        (PriceQuote, VendorQuote, set[str]()),
        (TemporaryFile, UploadResponse, set[str]()),
    ],
)
def test_no_shape_in_models_py_has_a_field_of_our_invention(ours: type[Wire], vendors: type, own: set[str]) -> None:
    assert set(ours.model_fields) - own <= fields(vendors)


def test_the_wrapper_of_a_quote_is_still_there() -> None:
    assert fields(PriceQuoteResponse) == {"price_quote"}


def test_retries_py_repeats_what_the_vendor_repeats() -> None:
    ours = {408, 425}  # a gateway's; a key makes their repetition harmless

    assert frozenset(map(int, TRANSIENT)) - ours == constants.RETRYABLE_STATUS_CODES
    assert len(list(backoff())) == constants.MAX_RETRIES
    assert 0.75 * constants.RETRY_BASE_DELAY <= next(backoff()) <= constants.RETRY_BASE_DELAY


def test_the_default_address_is_the_vendors() -> None:
    assert DEFAULT_BASE_URL == constants.DEFAULT_BASE_URL


@pytest.mark.parametrize(
    ("ours", "vendors"),
    [
        ("RequestRejected", errors.ValidationError),
        ("KeyRejected", errors.AuthenticationError),
        ("OutOfCredits", errors.InsufficientCreditsError),
        ("NotFound", errors.NotFoundError),
        ("KeyReused", errors.ConflictError),
        ("Throttled", errors.RateLimitError),
    ],
)
def test_refusals_py_sorts_statuses_as_the_vendor_does(ours: str, vendors: type[Exception]) -> None:
    """Ours are coarser: 403, 405, 408, 413 and 415 have no class of their own there."""
    unnamed = {403, 405, 408, 413, 415}
    for status in set(range(300, 600)) - unnamed:
        answer = httpx.Response(status, json={"error": "So it is"})
        said = error_from(answer, mask=str)

        assert (type(said).__name__ == ours) is isinstance(errors.error_from_response(answer), vendors)


@pytest.mark.parametrize(
    "body",
    [{"error": {"message": "words"}}, {"error": "words"}]
    + [{name: "words"} for name in ("message", "detail", "errorMessage", "msg")]
    + [{"error": "words", "message": "not these"}, {"message": "words", "detail": "not these", "msg": "nor these"}],
    ids=str,
)
def test_refusals_py_finds_the_words_that_the_vendor_finds(body: object) -> None:
    answer = httpx.Response(422, json=body)

    assert errors.error_from_response(answer).message == "words"
    assert error_from(answer, mask=str).message == "RunAPI said: words (HTTP 422)."
