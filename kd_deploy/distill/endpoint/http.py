"""Requests to a teacher's server: the bearer token, what is tried again and when, what a failure says."""

import json
import os
import random
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ValidationError

from kd_deploy.errors import MissingExtraError, TrainingError
from kd_deploy.recipe.endpoint import Endpoint

M = TypeVar("M", bound=BaseModel)

TRY_AGAIN = {408, 425, 429}  # and every 5xx
SERVER_FAULT = 500
FIRST_WAIT_S = 0.5
MOST_DOUBLINGS = 10
LONGEST_BACKOFF_S = 30.0
LONGEST_WAIT_S = 600.0  # a server that asks for more is down for this run
BODY_CHARACTERS = 300
HINTS = {
    401: "name the variable that holds the token in teacher.endpoint.api_key_env",
    403: "name the variable that holds the token in teacher.endpoint.api_key_env",
    404: "check teacher.endpoint.url and teacher.endpoint.model",
}
LATER = "check teacher.endpoint.url and the server, and run again: what was answered so far is kept"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fault:
    """Why a try failed, and whether another may help."""

    what: str
    passing: bool
    wait_s: float = 0.0
    hint: str = LATER


class Connection:
    """An open connection to the server; threads may share it."""

    def __init__(self, settings: Endpoint, *, version: str) -> None:
        """Open it; nothing is sent yet.

        Args:
            settings: Where the server is, how patient to be.
            version: The first part of every path, as v1; the url may end with it.

        Raises:
            MissingExtraError: httpx2 is not installed.
            TrainingError: The variable of the token is not set, or holds what is no token.
        """
        try:
            import httpx2
        except ModuleNotFoundError as error:
            raise MissingExtraError("a teacher behind HTTP", extra="distill") from error
        self._base = f"{settings.url.rstrip('/').removesuffix(f'/{version}')}/{version}"
        self._retries = settings.retries
        self._key = token_of(settings.api_key_env)
        self._stopped = threading.Event()
        self._failure, self._no_address = httpx2.RequestError, httpx2.InvalidURL
        headers = {"content-type": "application/json"}
        if self._key:
            headers["authorization"] = f"Bearer {self._key}"
        self._client = httpx2.Client(headers=headers, timeout=settings.timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def stop(self) -> None:
        """End all waiting for another try, in every thread."""
        self._stopped.set()

    def pause(self, seconds: float) -> None:
        """Wait before another try, unless the work was stopped."""
        self._stopped.wait(seconds)

    def get(self, path: str, form: type[M]) -> M:
        """What the server has at a path under the base, in the form that is expected.

        Raises:
            TrainingError: It has nothing there, stays silent, or answers in another form.
        """
        return self._call("GET", path, content=None, form=form)

    def post(self, path: str, form: type[M], *, body: Mapping[str, Any]) -> M:
        """The server's answer to a JSON body, in the form that is expected.

        Raises:
            TrainingError: It refuses, stays silent, or answers in another form.
        """
        return self._call("POST", path, content=json.dumps(body).encode(), form=form)

    def _call(self, method: str, path: str, *, content: bytes | None, form: type[M]) -> M:
        url = f"{self._base}/{path}"
        attempt = 0
        while not isinstance(found := self._try(method, url, content=content), bytes):
            again = found.passing and attempt < self._retries and found.wait_s <= LONGEST_WAIT_S
            if again:
                self.pause(max(_backoff_s(attempt), found.wait_s))
            if not again or self._stopped.is_set():
                raise TrainingError(f"{url} {found.what}", hint=found.hint)
            attempt += 1
        return _read(found, form, url=url)

    def _try(self, method: str, url: str, *, content: bytes | None) -> bytes | _Fault:
        try:
            response = self._client.request(method, url, content=content)
        except self._failure as error:
            return _Fault(what=f"gave no answer ({type(error).__name__})", passing=True)
        except (self._no_address, UnicodeError) as error:
            return _Fault(what=f"is no address: {error}", passing=False, hint="check teacher.endpoint.url")
        if response.is_success:
            return response.content
        status = response.status_code
        passing = status in TRY_AGAIN or status >= SERVER_FAULT
        return _Fault(
            what=f"answered {status}: {self._start_of(response.text)}",
            passing=passing,
            wait_s=retry_after_s(response.headers.get("retry-after")),
            hint=LATER if passing else HINTS.get(status, "check teacher.endpoint against what the server says"),
        )

    # The first words of a body, on one line; a server may repeat the token in them.
    def _start_of(self, body: str) -> str:
        plain = body.replace(self._key, "***") if self._key else body
        return " ".join(plain[:BODY_CHARACTERS].split()) or "nothing"


def retry_after_s(value: str | None) -> float:
    """The seconds that a Retry-After header asks for; 0 where there is none that can be read.

    Args:
        value: Whole seconds, or a date as in HTTP.
    """
    if value is None:
        return 0.0
    if value.strip().isdecimal():
        return float(value)
    try:
        when = parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    aware = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max(0.0, (aware - datetime.now(UTC)).total_seconds())


def _backoff_s(attempt: int) -> float:
    """Twice as long each time; drawn, so that requests refused together do not come back together."""
    longest = min(LONGEST_BACKOFF_S, FIRST_WAIT_S * 2.0 ** min(attempt, MOST_DOUBLINGS))
    return longest * random.SystemRandom().uniform(0.5, 1.0)


def _read(content: bytes, form: type[M], *, url: str) -> M:
    try:
        return form.model_validate_json(content)
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in fault["loc"]) or "the whole"
        raise TrainingError(
            f"{url} answered in a form that was not expected: {place}: {fault['msg']}",
            hint="check teacher.endpoint.protocol and teacher.endpoint.url",
        ) from None


def token_of(variable: str | None) -> str:
    """The token that an environment variable holds; empty where none is named.

    Raises:
        TrainingError: It is not set, or is no token.
    """
    if variable is None:
        return ""
    key = os.environ.get(variable, "").strip()
    if not key:
        raise TrainingError(
            f"the environment variable {variable} is not set",
            hint="it must hold the token of the teacher's server, as teacher.endpoint.api_key_env says",
        )
    if not (key.isascii() and key.isprintable()):
        raise TrainingError(
            f"the environment variable {variable} holds characters that no HTTP header may carry",
            hint="set it to the token alone",
        )
    return key
