"""What obstore does not do for Amazon: credentials from its files, and listings of any key.

obstore's listings know no key that is not a clean path, and drop the slash behind a directory's marker; a bucket may have
both. So S3 is listed through botocore, which moto brings along, and everything else stays obstore's.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any, Final

from appliance.errors import TransferFailed
from appliance.external.failures import one_line
from appliance.external.pages import LISTED, Listed, take_contents
from appliance.external.places import Place

if TYPE_CHECKING:
    # Only in the library's stubs, not in the library.
    from obstore.store import S3Credential

_TRIES: Final = 4
_READ_BYTES: Final = 256 * 1024
_SYSTEM_MESSAGE = re.compile(r"\[Errno -?\d+\] ([^'\")]+)")
# obstore asks for these by itself, and after the files.
_NOT_FILES: Final = ("env", "container-role", "iam-role")


def find_file_credentials() -> Callable[[], S3Credential] | None:
    """What `~/.aws/credentials` and `~/.aws/config` give (`AWS_PROFILE` chooses), None if that is nothing.

    Variables come first, as with every other program.
    """
    if os.environ.get("AWS_ACCESS_KEY_ID") or os.environ.get("AWS_SKIP_SIGNATURE"):
        return None
    found = _session(files_only=True).get_credentials()
    return _FileKey(found) if found is not None else None


def iter_listing(name: str, place: Place, hidden: tuple[str, ...], prefix: str) -> Iterator[Listed]:
    """All objects of a bucket whose keys begin with a prefix, page by page. Raises TransferFailed, saying `name`."""
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    try:
        with _open_client(place) as client:
            client.meta.events.register("before-parse.s3.ListObjectsV2", take_contents)
            for page in client.get_paginator("list_objects_v2").paginate(Bucket=place.bucket, Prefix=prefix):
                yield from page.get(LISTED, ())
    except ClientError as error:
        cause = _said(error.response)
    except ResponseParserError as error:
        cause = f"its listing can not be read: {error}"
    except BotoCoreError as error:
        cause = _transport_cause(error, place)
    else:
        return
    raise TransferFailed(f"{name}: {one_line(cause, hidden)}")


@contextmanager
def open_ranges(
    name: str, place: Place, hidden: tuple[str, ...], key: str, etag: str
) -> Iterator[Callable[[int, memoryview], None]]:
    """Give a function that fills a buffer with an object's bytes from some offset on; any thread may call it.

    For servers that answer a range with the status of a whole object, which obstore takes for one. It raises
    TransferFailed, also for an object that has another ETag by now.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    with _open_client(place) as client:

        def read(start: int, piece: memoryview) -> None:
            end = start + len(piece)
            for _ in range(_TRIES):
                try:
                    reply = client.get_object(
                        Bucket=place.bucket, Key=key, Range=f"bytes={start}-{end - 1}", IfMatch=f'"{etag}"'
                    )
                    return _read_exactly(reply, start, piece, etag)
                except ClientError as error:
                    if error.response["ResponseMetadata"]["HTTPStatusCode"] in (404, 412):
                        raise TransferFailed(f"{name} changed while it was read") from None
                    cause = _said(error.response)
                    break
                except _Changed:
                    raise TransferFailed(f"{name} changed while it was read") from None
                except BotoCoreError as error:  # the library tries again until there is a reply, and not to read it
                    cause = _transport_cause(error, place)
            raise TransferFailed(f"{name}: {one_line(cause, hidden)}")

        yield read


class _Changed(Exception):
    """A reply is not about the bytes that were asked for."""


def _read_exactly(reply: dict[str, Any], start: int, piece: memoryview, etag: str) -> None:
    with closing(reply["Body"]) as body:
        is_part = reply.get("ContentRange", "").startswith(f"bytes {start}-{start + len(piece) - 1}/")
        if not is_part or reply.get("ETag", "").strip('"') != etag or reply.get("ContentLength") != len(piece):
            raise _Changed
        filled = 0
        while filled < len(piece):  # less than that is an error of the library's
            part = body.read(_READ_BYTES)
            piece[filled : filled + len(part)] = part
            filled += len(part)


@dataclass(frozen=True, slots=True)
class _FileKey:
    """Gives obstore what botocore found, renewed by botocore where it expires."""

    credentials: Any

    def __call__(self) -> S3Credential:
        frozen = self.credentials.get_frozen_credentials()
        renewed = datetime.now(UTC) + timedelta(minutes=5) if hasattr(self.credentials, "refresh_needed") else None
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": renewed,
        }


def _session(*, files_only: bool) -> Any:
    from botocore.session import Session

    session = Session()
    session.register_component("data_loader", _loader())
    session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_parse_time)
    if files_only:
        for provider in _NOT_FILES:
            session.get_component("credential_provider").remove(provider)
    return session


@lru_cache(maxsize=1)
def _loader() -> Any:
    """What reads botocore's description of S3, once: that takes half a second."""
    from botocore.loaders import create_loader

    return create_loader()


def _parse_time(text: str) -> datetime:
    """A time in a listing, or in a header; botocore's own way costs more than the rest of a listing's entry."""
    return datetime.fromisoformat(text) if text[:1].isdigit() else parsedate_to_datetime(text)


@contextmanager
def _open_client(place: Place) -> Iterator[Any]:
    with _certificate_file(place) as verify, closing(_client(place, verify)) as client:
        yield client


@contextmanager
def _certificate_file(place: Place) -> Iterator[str | None]:
    """The profile's certificate as a file, for whom its text is not enough."""
    if place.profile is None or place.profile.ca_certificate is None:
        yield None
        return
    with NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(place.profile.ca_certificate)
        file.flush()
        yield file.name


def _client(place: Place, verify: str | None) -> Any:
    from botocore import UNSIGNED
    from botocore.config import Config

    anonymous = place.profile is None and os.environ.get("AWS_SKIP_SIGNATURE", "").lower() in ("1", "true")
    config = Config(
        signature_version=UNSIGNED if anonymous else "s3v4",
        s3={"addressing_style": "path" if place.path_style else "virtual"},
        connect_timeout=5,
        read_timeout=20,
        retries={"mode": "standard", "max_attempts": 8},
    )
    return _session(files_only=False).create_client(
        "s3",
        endpoint_url=place.endpoint or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"),
        region_name=place.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1",
        config=config,
        verify=verify,
        **_keys(place),
    )


def _keys(place: Place) -> dict[str, Any]:
    """What a profile says about who asks; without one botocore finds that as obstore does."""
    if place.profile is None:
        return {}
    return {
        "aws_access_key_id": place.profile.access_key_id,
        "aws_secret_access_key": place.profile.secret_access_key,
        "aws_session_token": place.profile.session_token,
    }


def _said(response: dict[str, Any]) -> str:
    error = response.get("Error", {})
    code, message = error.get("Code", ""), error.get("Message", "")
    if code.isdecimal() or not code:  # the reply had no words
        return f"{response['ResponseMetadata']['HTTPStatusCode']} {message}"
    return f"{message} ({code})" if message else code


def _transport_cause(error: Exception, place: Place) -> str:
    from botocore import exceptions

    host = place.endpoint or "Amazon"
    if isinstance(error, exceptions.NoCredentialsError | exceptions.CredentialRetrievalError):
        return "no credentials: no profile fits, no variables are set"
    if isinstance(error, exceptions.SSLError):
        return f"the certificate of {host} is not trusted"
    if isinstance(error, exceptions.ConnectTimeoutError | exceptions.ReadTimeoutError):
        return f"no answer from {host} in time"
    # The system's words are in an error within errors, of which only the text is at hand.
    said = _SYSTEM_MESSAGE.search(str(getattr(error, "kwargs", {}).get("error", "")))
    return f"can not reach {host}: {said[1] if said else error}"
