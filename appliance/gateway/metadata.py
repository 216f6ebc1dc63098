"""What is kept of the headers of an upload, by their names in lower case, and how it comes back."""

from collections.abc import Mapping
from typing import Any

from appliance.gateway import sharing, tags
from appliance.gateway.checksums import PREFIX
from appliance.gateway.errors import S3Error, invalid_argument, not_implemented

STORAGE_CLASS = "x-amz-storage-class"
REDIRECT = "x-amz-website-redirect-location"

_KEPT = {
    name.lower(): name
    for name in ("Content-Type", "Content-Encoding", "Content-Language", "Content-Disposition", "Cache-Control", "Expires")
}
# What says how soon an object can be read is true here of every object; the archives it is not true of are not offered.
_CLASSES = {
    *("STANDARD", "REDUCED_REDUNDANCY", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR"),
    "EXPRESS_ONEZONE",
}
_ARCHIVES = {"GLACIER", "DEEP_ARCHIVE", "SNOW", "OUTPOSTS"}


def parse_metadata(headers: Any) -> dict[str, str]:
    """Return everything that is kept of the headers of an upload. Raises S3Error for what can not be."""
    kept = metadata_from(headers)
    if (text := headers.get(tags.HEADER)) is not None and (tagged := tags.parse_header(text)):
        kept[tags.HEADER] = tagged
    if (redirect := headers.get(REDIRECT)) is not None:
        kept[REDIRECT] = _check_redirect(redirect)
    if (storage_class := headers.get(STORAGE_CLASS)) not in (None, "", "STANDARD"):
        kept[STORAGE_CLASS] = _check_class(storage_class)
    return sharing.keep_acl(kept, sharing.parse_canned(headers.get(sharing.HEADER)))


def _check_redirect(location: str) -> str:
    if not location.startswith(("/", "http://", "https://")) or len(location) > 2048:
        message = "The website redirect location must have a prefix of 'http://' or 'https://' or '/'."
        raise S3Error("InvalidRedirectLocation", message)
    return location


def _check_class(name: str) -> str:
    if name in _ARCHIVES:
        raise not_implemented()
    if name not in _CLASSES:
        raise S3Error("InvalidStorageClass", "The storage class you specified is not valid")
    return name


def keep_tags(kept: Mapping[str, str], tagged: str) -> dict[str, str]:
    """Return metadata with these tags instead of others."""
    without = {name: value for name, value in kept.items() if name != tags.HEADER}
    return {**without, tags.HEADER: tagged} if tagged else without


def copy(before: Mapping[str, str], said: Mapping[str, str], *, replaces: bool, retagged: bool) -> dict[str, str]:
    """Return the metadata of a copy: its source's, or with `replaces` and `retagged` what its request said.

    Checksums go along, storage class, redirection and ACL never do.
    """
    kept = {name: value for name, value in before.items() if name.startswith(PREFIX)}
    own = (STORAGE_CLASS, REDIRECT, sharing.HEADER)
    kept |= {name: said[name] for name in own if name in said}
    apart = {*kept, tags.HEADER, *own}
    described, tagged = said if replaces else before, said if retagged else before
    kept |= {name: value for name, value in described.items() if name not in apart}
    return keep_tags(kept, tagged.get(tags.HEADER, ""))


def parse_directive(headers: Mapping[str, str], name: str) -> bool:
    """Tell whether a copy is to replace what a directive is about. Raises S3Error InvalidArgument."""
    directive = headers.get(f"x-amz-{name}-directive") or "COPY"
    if directive not in ("COPY", "REPLACE"):
        raise invalid_argument(f"Unknown {name} directive.")
    return directive == "REPLACE"


def headers_of(kept: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that what was kept comes back as. Checksums only come when they are asked for, ACLs never."""
    headers = {_KEPT.get(name, name): value for name, value in kept.items() if not name.startswith(PREFIX)}
    headers.pop(sharing.HEADER, None)
    if (tagged := headers.pop(tags.HEADER, None)) is not None:
        headers["x-amz-tagging-count"] = str(len(tags.read(tagged)))
    return headers


def storage_class(kept: Mapping[str, str]) -> str:
    """Return the storage class an object was given."""
    return kept.get(STORAGE_CLASS, "STANDARD")


def metadata_from(headers: Any) -> dict[str, str]:
    """Return what S3 keeps of the headers of an upload: user metadata and the headers that come back with it."""
    kept: dict[str, str] = {}
    for name, value in headers.items():
        lower = name.lower()
        if lower == "content-encoding":
            # `aws-chunked` was about the transfer, not about the object.
            value = ",".join(part for part in value.split(",") if part.strip() not in ("", "aws-chunked"))
        if lower.startswith("x-amz-meta-"):
            kept[lower] = f"{kept[lower]},{value}" if lower in kept else value
        elif value and lower in _KEPT:
            kept[lower] = value
    return kept
