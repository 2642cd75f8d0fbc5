"""The client of the Materials Project, each of its failures turned into one line with a remedy."""

from __future__ import annotations

import os
import re
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import requests
from mp_api.client.core import MPRestError
from mp_api.client.core.settings import MAPI_CLIENT_SETTINGS
from mp_api.client.core.utils import validate_api_key
from mp_api.client.routes.materials.summary import SummaryRester

from stores.errors import BadInput
from workflows.sources.base import SourceUnavailable, one_line

BACKOFF_S = (2.0, 8.0, 30.0)
"""Waits before the same request is tried again; the client's own quick retries come first."""

Answer = TypeVar("Answer")


class Summary:
    """The summary route of the client, each of its failures turned into a line with a remedy."""

    def __init__(self, timeout_s: int) -> None:
        self.timeout_s = timeout_s
        self.endpoint = os.environ.get("MP_API_ENDPOINT") or MAPI_CLIENT_SETTINGS.ENDPOINT
        key = api_key()
        self._rester: SummaryRester = self._ask(lambda: self._connect(key))
        self.database_version = str(self._rester.db_version) or None

    def _connect(self, key: str) -> SummaryRester:
        # The client's own first request has no timeout and would hang on a silent server.
        answer = requests.get(self.endpoint.rstrip("/") + "/heartbeat", timeout=self.timeout_s)
        if answer.status_code >= 400:
            raise MPRestError(f"heartbeat: error status code {answer.status_code}")
        answer.json()  # a network's login page is no heartbeat
        return SummaryRester(
            api_key=key,
            endpoint=self.endpoint,
            # Documents are validated one by one here: one that is broken must not take its
            # page with it.
            use_document_model=False,
            mute_progress_bars=True,
            timeout=self.timeout_s,
        )

    def ids(self, queries: Sequence[dict[str, Any]]) -> list[str]:
        """Return the ids of what matches any query, rising (mp-2 before mp-10)."""
        found = {material_id for query in queries for material_id in self._matches(query)}
        return sorted(found, key=lambda i: (len(i), i))

    def _matches(self, query: dict[str, Any]) -> list[str]:
        rows: list[Any] = self._ask(lambda: self._rester.search(**query, fields=["material_id"]))
        try:
            return [str(row["material_id"]) for row in rows]
        except (KeyError, TypeError):
            raise SourceUnavailable(
                "Materials Project: an answer without material ids; check MP_API_ENDPOINT"
            ) from None

    def documents(self, ids: Sequence[str], fields: list[str]) -> dict[str, Any]:
        """Return the documents of some materials by id; missing ones are left out."""
        rows: list[Any] = self._ask(
            lambda: self._rester.search(material_ids=list(ids), fields=fields, chunk_size=len(ids))
        )
        return {str(row["material_id"]): row for row in rows if "material_id" in row}

    def _ask(self, request: Callable[[], Answer]) -> Answer:
        """Make a request, again after a while where that can help."""
        for wait_s in (*BACKOFF_S, None):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # the client warns of what is handled here
                    return request()
            except (MPRestError, requests.RequestException, ValueError, KeyError) as error:
                problem, passing = _explain(error, self.timeout_s)
                if wait_s is None or not passing:
                    raise problem from error
            time.sleep(wait_s)
        raise AssertionError("unreachable")


def api_key() -> str:
    """Return the key that the client finds, or say how to give one."""
    remedy = (
        "get one at https://materialsproject.org/api and set MP_API_KEY in the environment, or "
        "PMG_MAPI_KEY in the pymatgen settings"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            key = validate_api_key()
        except MPRestError:
            raise BadInput(
                f"candidates: the Materials Project key is not 32 characters long; {remedy}"
            ) from None
    if not key:
        raise BadInput(f"candidates: no Materials Project key; {remedy}")
    return str(key)


def _explain(error: Exception, timeout_s: float) -> tuple[Exception, bool]:
    """Return the error to raise, and whether trying again may help."""
    if isinstance(error, MPRestError) and isinstance(error.__context__, requests.RequestException):
        error = error.__context__  # the client kept its text alone
    if isinstance(error, requests.Timeout) or "Read timed out" in str(error):
        return SourceUnavailable(
            f"Materials Project: no answer within {timeout_s:g} s; raise candidates.timeout or "
            "narrow the query, then run the same command again"
        ), False
    if isinstance(error, requests.exceptions.RetryError) and "429" in str(error):
        return _too_many_requests(), True
    if isinstance(
        error, requests.exceptions.JSONDecodeError | requests.exceptions.ChunkedEncodingError
    ):
        return _broken_answer(), True
    if isinstance(error, requests.exceptions.RetryError):
        return SourceUnavailable(
            "Materials Project: its gateway fails (502 or 504); see "
            "https://status.materialsproject.org, then run the same command again"
        ), True
    if isinstance(error, requests.RequestException):
        return SourceUnavailable(
            "Materials Project: cannot be reached; check the network and "
            "https://status.materialsproject.org, then run the same command again"
        ), False
    status = re.search(r"status code (\d{3})", str(error))
    code = int(status.group(1)) if status else None
    if code in (401, 403):
        return BadInput(
            f"candidates: the Materials Project refuses the key ({code}); renew it at "
            "https://materialsproject.org/api and set MP_API_KEY"
        ), False
    if code == 429:
        return _too_many_requests(), True
    if code is not None and code >= 500:
        return SourceUnavailable(
            f"Materials Project: its server failed ({code}); see "
            "https://status.materialsproject.org, then run the same command again"
        ), True
    if isinstance(error, MPRestError):
        said = one_line(error).split(" on URL ")[0]
        return BadInput(
            f"candidates: the Materials Project does not accept the query: {said}"
        ), False
    return _broken_answer(), True


def _too_many_requests() -> SourceUnavailable:
    return SourceUnavailable(
        "Materials Project: too many requests (429); wait some minutes, then run the same "
        "command again: it goes on where it stopped"
    )


def _broken_answer() -> SourceUnavailable:
    return SourceUnavailable(
        "Materials Project: an answer that is not valid JSON; run the same command again, and "
        "check proxies and MP_API_ENDPOINT if it stays"
    )
