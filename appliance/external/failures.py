"""Saying in one line why something went wrong at somebody else's.

obstore's errors are Rust structures in text form, with request, reply and debug output; `explain` takes from them what a
reader needs. None of them is ever chained to ours: a reply may echo a token.
"""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from obstore.exceptions import BaseError, PreconditionError

from appliance.errors import TransferFailed
from appliance.external.urls import printable

# What obstore raises: its own tree, and two built-in classes for a missing object and for a key it can not express.
REMOTE_ERRORS: Final = (BaseError, FileNotFoundError, ValueError)

_STATUS = re.compile(r"status code: (\d{3})\s*([A-Za-z' -]*)")
_CODE = re.compile(r"<Code>\s*([^<]+?)\s*</Code>")
# Azure adds lines with the number and the time of the request.
_MESSAGE = re.compile(r"<Message>\s*([^<]+?)\s*(?:\nRequestId:[^<]*)?</Message>")
_SYSTEM_MESSAGE = re.compile(r'(?:message|error): "([^"\\]+)"')
_REQUEST = re.compile(r"^.*?Error performing [A-Z]+ (https?://[^/\s]+)\S* in .*? - ", re.DOTALL)
# Where the library asks last, when nothing else gives credentials: the machine it may run on in the cloud.
_INSTANCE_ROLE = re.compile(r"https?://[^/\s]+/(latest/(api/token|meta-data)|metadata/identity|computeMetadata)")
_TRY_AGAIN_STATUS: Final = {408, 409, 429}
_TRY_AGAIN_CODES: Final = {"RequestTimeout", "NoSuchUpload", "BadDigest", "IncompleteBody", "SlowDown"}
_CERTIFICATE = re.compile(r"InvalidCertificate\(\s*(\w+)")
_LONGEST: Final = 400


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request failed: one line without secrets, the status if there was a reply, and if a new try may help.

    `changed` says that the object is not the one the request was for.
    """

    cause: str
    status: int | None
    retryable: bool
    changed: bool


def explain(error: Exception, hidden: Sequence[str]) -> Failure:
    """What one of REMOTE_ERRORS says."""
    text, _, debug = str(error).partition("\n\nDebug source:")
    found = _STATUS.search(text)
    status = int(found[1]) if found else None
    code = _first(_CODE, text)
    no_role = _INSTANCE_ROLE.search(text) is not None
    return Failure(
        cause=one_line("no credentials: no profile fits, no variables are set" if no_role else _cause(text, debug), hidden),
        status=status,
        retryable=not no_role and _CERTIFICATE.search(debug) is None and _may_pass(text, status, code),
        # The library's own class has it only where the first reply says so, not where the rest is asked for.
        changed=isinstance(error, PreconditionError) or status == 412,
    )


def explain_reply(status: int, reason: str, body: str) -> str:
    """What a reply that is no success says, in the words that `explain` would take from it."""
    return _said(body) or f"{status} {reason}"


def failed(name: str, failure: Failure) -> TransferFailed:
    """The error that says so of one object or bucket."""
    return TransferFailed(f"{name}: {failure.cause}")


def one_line(text: str, hidden: Sequence[str]) -> str:
    """Text for a message: bounded, in one line, without what must not be shown."""
    for secret in hidden:
        text = text.replace(secret, "***")
    line = printable(" ".join(text.split()))
    return line if len(line) <= _LONGEST else line[:_LONGEST] + "…"


def never() -> bool:
    """The `stop` of who never stops."""
    return False


def _cause(text: str, debug: str) -> str:
    found = _STATUS.search(text)
    if said := _said(text):
        return said
    if found:
        return f"{found[1]} {found[2].strip()}"
    if "HTTP error:" in text:
        return _transport_cause(text, debug)
    return _REQUEST.sub("", text) if _REQUEST.match(text) else text.partition(": ")[2] or text


def _said(text: str) -> str:
    """The provider's own words, empty if there are none."""
    code, message = _first(_CODE, text), _first(_MESSAGE, text)
    return f"{message} ({code})" if code and message else code or message


def _transport_cause(text: str, debug: str) -> str:
    host = _first(_REQUEST, text)
    if "TimedOut" in debug or "kind: Timeout" in debug:
        return f"no answer from {host or 'the server'} in time"
    if certificate := _first(_CERTIFICATE, debug):
        return f"the certificate of {host} is not trusted: {certificate}"
    said = _SYSTEM_MESSAGE.findall(debug)
    if not host:  # there was a reply, and it has not been taken up again
        return f"the connection broke off: {said[-1] if said else text.rpartition('HTTP error: ')[2]}"
    return f"can not reach {host}: {said[-1] if said else text.rpartition('HTTP error: ')[2]}"


def _may_pass(text: str, status: int | None, code: str) -> bool:
    if status is None:
        return "HTTP error:" in text
    return status >= 500 or status in _TRY_AGAIN_STATUS or code in _TRY_AGAIN_CODES


def _first(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return html.unescape(found[1]) if found else ""
