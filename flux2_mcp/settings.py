"""What a user can configure: one frozen model, read from a mapping."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from decimal import ROUND_FLOOR, Decimal, InvalidOperation
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

from flux2_mcp.errors import BadSetting

PLACEHOLDER = re.compile(r"\$\{[^}]*\}|\$[A-Za-z_]\w*|%\w+%")
"""What a host leaves behind when it does not expand a variable: `${KEY}`, `$KEY`, `%KEY%`; `$5` is an amount."""

MOST_DOLLARS = 1_000_000

Edge = Annotated[int, Field(ge=64, le=2048)]
USUAL_EDGE = 1024
"""Pixels: small enough for every chat, large enough to judge a picture."""


def _cents_of_dollars(value: object) -> object:
    """0.50 -> 50; off -> None."""
    if not isinstance(value, str):
        return value
    if value.lower() in {"off", "none", "unlimited"}:
        return None
    try:
        dollars = Decimal(value.removeprefix("$"))
    except InvalidOperation:
        dollars = Decimal("NaN")
    if not dollars.is_finite() or not 0 <= dollars <= MOST_DOLLARS:
        msg = 'an amount in US dollars is needed, such as 0.50, or "off"'
        raise ValueError(msg)
    return int((dollars * 100).to_integral_value(rounding=ROUND_FLOOR))


Cents = Annotated[int | None, BeforeValidator(_cents_of_dollars)]


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


class Settings(BaseModel):
    """The environment variables that this server understands; a field's alias is the variable's name."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    api_key: Annotated[SecretStr | None, Field(alias="RUNAPI_API_KEY")] = None
    base_url: Annotated[str | None, Field(alias="RUNAPI_BASE_URL")] = None
    """RunAPI's address; the shared config file and then https://runapi.ai when None."""
    dialect: Annotated[Literal["auto", "sdk", "v1"], BeforeValidator(_lower), Field(alias="RUNAPI_DIALECT")] = "auto"
    runapi_config_dir: Annotated[str | None, Field(alias="RUNAPI_CONFIG_DIR")] = None
    xdg_config_home: Annotated[str | None, Field(alias="XDG_CONFIG_HOME")] = None
    output_dir: Annotated[str | None, Field(alias="FLUX2_OUTPUT_DIR")] = None
    """Where pictures are saved; "Flux 2" in the user's Pictures folder when None."""
    save: Annotated[Literal["on", "off"], BeforeValidator(_lower), Field(alias="FLUX2_SAVE")] = "on"
    preview: Annotated[Literal["auto", "off"] | Edge, BeforeValidator(_lower), Field(alias="FLUX2_PREVIEW")] = "auto"
    """Longest edge of previews in pixels; "auto" is 1024."""

    result: Annotated[
        Literal["auto", "content", "structured"], BeforeValidator(_lower), Field(alias="FLUX2_RESULT")
    ] = "auto"
    """Whether finished pictures come with structured content too; "auto" knows which hosts cope with that."""
    input_roots: Annotated[str | None, Field(alias="FLUX2_INPUT_ROOTS")] = None
    """More folders that source images may come from, separated like PATH."""
    data_dir: Annotated[str | None, Field(alias="FLUX2_DATA_DIR")] = None
    """Where the history lies; the user's data folder when None."""
    history: Annotated[Literal["on", "private", "off"], BeforeValidator(_lower), Field(alias="FLUX2_HISTORY")] = "on"
    database_url: Annotated[SecretStr | None, Field(alias="FLUX2_DATABASE_URL")] = None
    """A PostgreSQL database for the history, which several servers may share; a file in the data folder when None."""
    max_cost_per_call: Annotated[Cents, Field(alias="FLUX2_MAX_COST_PER_CALL")] = 100
    """US cents, from dollars; None for no limit."""
    daily_budget: Annotated[Cents, Field(alias="FLUX2_DAILY_BUDGET")] = None
    """US cents, from dollars; None for no limit."""
    confirm_over: Annotated[Cents, Field(alias="FLUX2_CONFIRM_OVER")] = None
    """US cents, from dollars: a call that costs more asks the person first."""
    allow_unknown_price: Annotated[bool, Field(alias="FLUX2_ALLOW_UNKNOWN_PRICE")] = False
    http_auth: Annotated[
        Literal["off", "runapi-key", "tokens", "oauth"], BeforeValidator(_lower), Field(alias="FLUX2_HTTP_AUTH")
    ] = "off"
    """How callers over HTTP are told apart; "off" serves the one person on this computer."""
    allowed_hosts: Annotated[str, Field(alias="FLUX2_ALLOWED_HOSTS")] = ""
    """Names, separated by commas, under which the server is reached over HTTP; others are refused."""
    tokens_file: Annotated[str | None, Field(alias="FLUX2_HTTP_TOKENS_FILE")] = None
    """Whose token is whose, for "tokens"; `tokens` in the data folder when None."""
    oauth_issuer: Annotated[str | None, Field(alias="FLUX2_OAUTH_ISSUER")] = None
    oauth_resource: Annotated[str | None, Field(alias="FLUX2_OAUTH_RESOURCE")] = None
    """The address of this server, for which tokens have to be made out."""
    oauth_scopes: Annotated[str, Field(alias="FLUX2_OAUTH_SCOPES")] = ""
    """Scopes that a token needs, separated by spaces."""
    oauth_jwks_url: Annotated[str | None, Field(alias="FLUX2_OAUTH_JWKS_URL")] = None
    """Where the issuer's keys are; `/.well-known/jwks.json` of the issuer when None."""
    secret: Annotated[SecretStr | None, Field(alias="FLUX2_SECRET")] = None
    """What callers are named with; a file in the data folder when None."""
    public_url: Annotated[str | None, Field(alias="FLUX2_PUBLIC_URL")] = None
    """Where RunAPI reaches this server over HTTP, to tell that a task has ended."""
    max_calls: Annotated[int, Field(alias="FLUX2_MAX_CALLS", ge=1)] = 2000
    """Calls over HTTP at once."""
    max_calls_per_caller: Annotated[int, Field(alias="FLUX2_MAX_CALLS_PER_CALLER", ge=1)] = 50
    log: Annotated[Literal["text", "json"], BeforeValidator(_lower), Field(alias="FLUX2_LOG")] = "text"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], BeforeValidator(_lower), Field(alias="FLUX2_LOG_LEVEL")
    ] = "warning"

    @property
    def preview_edge(self) -> int | None:
        """Longest edge of previews in pixels; None when there are to be none."""
        if self.preview == "off":
            return None
        return USUAL_EDGE if self.preview == "auto" else self.preview

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Settings:
        """Read the variables that are set; an empty one counts as not set, and so does an unexpanded placeholder.

        The key is the exception: a placeholder there is kept, so that the first paid call can explain it.

        Raises:
            BadSetting: Names each variable that cannot be used, and what it may be. Values are not quoted.
        """
        names = {str(field.alias) for field in cls.model_fields.values()}
        values = {name: environ[name].strip() for name in names if environ.get(name, "").strip()}
        usable = {
            name: value
            for name, value in values.items()
            if name == "RUNAPI_API_KEY" or not PLACEHOLDER.fullmatch(value)
        }
        try:
            return cls.model_validate(usable)
        except ValidationError as error:
            problems = {str(problem["loc"][0]): problem for problem in error.errors()}
            schemas: Mapping[str, Mapping[str, Any]] = cls.model_json_schema()["properties"]
            clauses = (f"{name}: {_words(problem, schemas[name])}" for name, problem in problems.items())
            raise BadSetting("; ".join(clauses) + ".") from None


def _words(problem: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """The words of our own validators, else what the schema accepts: pydantic's words speak of an "input"."""
    from flux2_mcp.accepted_values import accepted

    if problem["type"] == "value_error":
        return str(problem["msg"]).removeprefix("Value error, ")
    return f"it may be {accepted(schema)}"


def misspelt(environ: Iterable[str]) -> str:
    """A sentence that names variables like ours that do not exist; empty when there are none."""
    known = {str(field.alias) for field in Settings.model_fields.values()}
    unknown = sorted(name for name in environ if name.startswith("FLUX2_") and name not in known)
    return f"There is no setting {', '.join(map(partial(_with_hint, known), unknown))}." if unknown else ""


def _with_hint(known: Iterable[str], name: str) -> str:
    begun = sorted((each for each in known if each.startswith(f"{name}_")), key=len)
    close = begun or difflib.get_close_matches(name, known, n=1)
    return f"{name} (did you mean {close[0]}?)" if close else name
