"""The grammar of addresses in other people's object stores (pure).

    s3://bucket/key                             gs://bucket/key, gcs://bucket/key
    minio://host:port/bucket/key                azblob://container/key
    http://host/path, https://host/path         wasb://container@account[.blob.core.windows.net]/key
    file:///path, local:///path                 wasb://account/container/key, as://account/container/key

A key is percent-decoded, so every key can be written, and otherwise literal: no wildcards, `#` belongs to it. Slashes
around it are dropped. After `?` come `endpoint`, `region`, `profile`, `disableSSL` and `s3ForcePathStyle`.
"""

import re
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

from appliance.errors import InvalidRequest

Provider = Literal["amazon", "google", "microsoft", "http", "disk"]

_PROVIDERS: Final[dict[str, Provider]] = {
    "s3": "amazon",
    "minio": "amazon",
    "gs": "google",
    "gcs": "google",
    "azblob": "microsoft",
    "wasb": "microsoft",
    "as": "microsoft",
    "http": "http",
    "https": "http",
    "file": "disk",
    "local": "disk",
}
_OPTIONS: Final = {"endpoint", "region", "profile", "disableSSL", "s3ForcePathStyle"}
_BOOLEANS: Final = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}
_AZURE_HOST: Final = ".blob.core.windows.net"

# Wider than what Amazon lets anybody create today, because other stores and older buckets have more; but no character
# that is more than a name in a request line, for obstore aborts the thread on those instead of raising.
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_REGION = re.compile(r"[A-Za-z0-9-]{1,64}")
_ENDPOINT = re.compile(r"https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?(/[A-Za-z0-9._~/-]*)?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class ObjectUrl:
    """An object, or everything below a prefix, at a provider.

    `key` has no slash at either end and is empty for a whole bucket. `text` is the address as it was given, without
    user, password and whatever else may be secret. For http, `bucket` is host and port, and `private` the whole address;
    for a file of this machine `bucket` is empty, and `key` the absolute path without its first slash.
    """

    provider: Provider
    bucket: str
    key: str
    text: str
    endpoint: str | None = None
    region: str | None = None
    profile: str | None = None
    path_style: bool | None = None
    account: str | None = None
    private: str = field(default="", repr=False)

    @property
    def scheme(self) -> str:
        """The scheme as it was written, in lower case."""
        return self.text.partition(":")[0].lower()

    def name(self, key: str | None = None) -> str:
        """One object in words for a message: this one, or `key` of the same bucket."""
        shown = self.key if key is None else key
        return f"{self.scheme}://{self.bucket}/{printable(shown)}"

    def address(self, key: str, *, endpoint: str | None = None, account: str | None = None) -> str:
        """One object as an address that stands for it wherever it is read again, in ASCII and without secrets.

        `endpoint` and `account` are what this one was opened with, where the address itself leaves that to a profile.
        """
        if self.provider in ("http", "disk"):
            return f"{self.scheme}://{self.bucket}/{quote(key)}"
        where = endpoint or self.endpoint
        if self.provider == "microsoft":
            address = f"wasb://{self.bucket}@{account or self.account}/{quote(key)}"
        else:
            address = f"{'s3' if self.provider == 'amazon' else 'gs'}://{self.bucket}/{quote(key)}"
        return f"{address}?endpoint={quote(where, safe=':/')}" if where else address


@dataclass(frozen=True, slots=True)
class _Options:
    endpoint: str | None = None
    region: str | None = None
    profile: str | None = None
    path_style: bool | None = None
    plain: bool | None = None


def parse_url(text: str) -> ObjectUrl:
    """Read an address.

    Raises InvalidRequest; its message repeats no secret.
    """
    parts = _split(text)
    scheme = parts.scheme
    if scheme not in _PROVIDERS:
        raise InvalidRequest(f"unrecognized object store: {scheme}")
    if _PROVIDERS[scheme] == "disk":
        return _disk(text, parts)
    if _PROVIDERS[scheme] == "http":
        return _http(text, parts)
    if _PROVIDERS[scheme] == "microsoft" and scheme != "azblob":
        return _azure(text, parts)
    if "@" in parts.netloc:
        raise InvalidRequest(f"credentials do not belong into a URL: {_without_secrets(text)}")
    return _minio(text, parts) if scheme == "minio" else _cloud(text, parts)


def printable(text: str) -> str:
    """Somebody else's text for a message: what would move a terminal's cursor, or turn the line around, is escaped."""
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)


def join_key(prefix: str, path: str) -> str:
    """The key of `path` below `prefix`; slashes where they meet, and around, count once or not at all."""
    return "/".join(part for part in (prefix.strip("/"), path.lstrip("/")) if part)


def relative_key(prefix: str, key: str, *, literal: bool = False) -> str | None:
    """What of `key` lies below the directory `prefix`, or None: below "dir" is "dir/x", not "dir2/x" and not "dir".

    A literal prefix is no directory: then it is what follows it in any key that begins with it, without a slash in front.
    """
    if literal:
        return key.removeprefix(prefix).lstrip("/") or None if key.startswith(prefix) else None
    prefix = prefix.strip("/")
    if not prefix:
        return key or None
    below = key.removeprefix(prefix + "/")
    return below if below and below != key else None


def normal_endpoint(text: str, *, plain: bool = False) -> str:
    """An endpoint as scheme, host, port and path; without a scheme it means https, or http if `plain`.

    Raises InvalidRequest.
    """
    whole = text if "://" in text else f"{'http' if plain else 'https'}://{text}"
    scheme, _, rest = whole.partition("://")
    host, slash, path = rest.partition("/")
    whole = f"{scheme.lower()}://{host.lower()}{slash}{path}".rstrip("/")
    found = _ENDPOINT.fullmatch(whole)
    if found is None or int(found[2] or 0) > 65535:
        raise InvalidRequest(f"malformed endpoint: {_without_secrets(text)}")
    return whole


def check_region(text: str) -> str:
    """The region itself. Raises InvalidRequest if it can not be one."""
    if not _REGION.fullmatch(text):
        raise InvalidRequest(f"malformed region: {text!r}")
    return text


def _split(text: str) -> SplitResult:
    shown = _without_secrets(text)
    try:
        parts = urlsplit(text, allow_fragments=False)
        _ = parts.port
    except ValueError:
        # Not chained: the library's words may quote the part with the password.
        raise InvalidRequest(f"error parsing url {shown}") from None
    if not text.isprintable() or text != text.strip() or "://" not in text:
        raise InvalidRequest(f"error parsing url {shown}")
    return parts


def _without_secrets(text: str) -> str:
    """The address for a message: one line, no user or password, no query."""
    scheme, mark, rest = text.partition("?")[0].partition("://")
    host, slash, path = rest.partition("/")
    shown = scheme + mark + host.rpartition("@")[2] + slash + path
    return shown if shown.isprintable() else repr(shown)


def _cloud(text: str, parts: SplitResult) -> ObjectUrl:
    options = _options(text, parts)
    return _object_url(text, parts.netloc, parts.path, options, endpoint=options.endpoint)


def _minio(text: str, parts: SplitResult) -> ObjectUrl:
    options = _options(text, parts)
    bucket, _, key = parts.path.strip("/").partition("/")
    # MinIO's default in Pachyderm is without TLS.
    endpoint = normal_endpoint(parts.netloc, plain=options.plain is not False)
    return _object_url(text, bucket, key, options, endpoint=endpoint)


def _azure(text: str, parts: SplitResult) -> ObjectUrl:
    container, at, host = parts.netloc.rpartition("@")
    path = parts.path
    if not at:
        container, _, path = path.strip("/").partition("/")
    account = host.removesuffix(_AZURE_HOST)
    if not (_BUCKET.fullmatch(container) and _BUCKET.fullmatch(account)):
        raise InvalidRequest(f"malformed Azure URI: {_without_secrets(text)}")
    options = _options(text, parts)
    return _object_url(text, container, path, options, endpoint=options.endpoint, account=account)


def _http(text: str, parts: SplitResult) -> ObjectUrl:
    if not parts.hostname:
        raise InvalidRequest(f"error parsing url {_without_secrets(text)}")
    host = parts.netloc.rpartition("@")[2]
    return ObjectUrl(
        provider="http",
        bucket=host,
        key=_decoded(text, parts.path.partition("#")[0]),
        text=_without_secrets(text),
        endpoint=f"{parts.scheme}://{host}",
        private=text,
    )


def _disk(text: str, parts: SplitResult) -> ObjectUrl:
    if parts.netloc not in ("", "localhost") or parts.query or not parts.path.startswith("/"):
        raise InvalidRequest(f"error parsing url {_without_secrets(text)}: a file is {parts.scheme}:///absolute/path")
    return ObjectUrl(provider="disk", bucket="", key=_decoded(text, parts.path), text=text)


def _object_url(
    text: str, bucket: str, path: str, options: _Options, *, endpoint: str | None, account: str | None = None
) -> ObjectUrl:
    if not _BUCKET.fullmatch(bucket):
        raise InvalidRequest(f'could not parse bucket "{bucket}" from url')
    return ObjectUrl(
        provider=_PROVIDERS[urlsplit(text).scheme],
        bucket=bucket,
        key=_decoded(text, path),
        # A container in front of @ is part of an Azure address; everything else there was refused.
        text=text,
        endpoint=endpoint,
        region=options.region,
        profile=options.profile,
        path_style=options.path_style,
        account=account,
    )


def _decoded(text: str, path: str) -> str:
    if _BAD_ESCAPE.search(path):
        raise InvalidRequest(f"error parsing url {_without_secrets(text)}: write %25 for a percent sign")
    try:
        key = unquote(path, errors="strict").strip("/")
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"error parsing url {_without_secrets(text)}: not UTF-8") from error
    return key


def _options(text: str, parts: SplitResult) -> _Options:
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    given = dict(pairs)
    if unknown := sorted(given.keys() - _OPTIONS):
        # Only the name: whoever writes a secret key here shall not read it again in a log.
        raise InvalidRequest(f'unknown query parameter "{unknown[0]}" in {_without_secrets(text)}')
    if len(given) != len(pairs):
        raise InvalidRequest(f"error parsing url {_without_secrets(text)}: a query parameter is given twice")
    plain = _boolean(given, "disableSSL")
    endpoint, region = given.get("endpoint"), given.get("region")
    return _Options(
        endpoint=normal_endpoint(endpoint, plain=plain is True) if endpoint else None,
        region=check_region(region) if region else None,
        profile=given.get("profile") or None,
        path_style=_boolean(given, "s3ForcePathStyle"),
        plain=plain,
    )


def _boolean(given: dict[str, str], name: str) -> bool | None:
    if name not in given:
        return None
    value = _BOOLEANS.get(given[name].lower())
    if value is None:
        raise InvalidRequest(f"{name} is true or false")
    return value
