"""Canned ACLs: which there are, and what each lets whom do with a bucket, or with an object in it (pure)."""

from collections.abc import Mapping

from appliance.gateway.errors import invalid_argument, not_implemented
from appliance.store.auth import Level
from appliance.store.settings import PRIVATE

HEADER = "x-amz-acl"
"""The header, and the name in a file's metadata."""

PUBLIC_READ, PUBLIC_READ_WRITE, AUTHENTICATED_READ = "public-read", "public-read-write", "authenticated-read"
_CANNED = {PRIVATE, PUBLIC_READ, PUBLIC_READ_WRITE, AUTHENTICATED_READ}
# The owner of a bucket owns what is in it, so these say what is so anyway.
_OWNERS = {"bucket-owner-read", "bucket-owner-full-control"}
_REFUSED = {"aws-exec-read", "log-delivery-write"}


def parse_canned(name: str | None) -> str:
    """Return the ACL that a header, or a field of a form, asks for. Raises S3Error InvalidArgument, NotImplemented."""
    if name is None or name in _OWNERS:
        return PRIVATE
    if name in _REFUSED:
        raise not_implemented()
    if name not in _CANNED:
        raise invalid_argument(f"{name[:80]} is not a canned ACL")
    return name


def level_of(acl: str, subject: str | None) -> Level:
    """Return what an ACL lets somebody do who has no role; None is somebody without a token."""
    if acl == PUBLIC_READ_WRITE:
        return Level.WRITE
    if acl == PUBLIC_READ or (acl == AUTHENTICATED_READ and subject is not None):
        return Level.READ
    return Level.NONE


def acl_of(kept: Mapping[str, str]) -> str:
    """Return the ACL of an object by what is kept of it."""
    return kept.get(HEADER, PRIVATE)


def keep_acl(kept: Mapping[str, str], acl: str) -> dict[str, str]:
    """Return metadata with this ACL instead of another."""
    without = {name: value for name, value in kept.items() if name != HEADER}
    return without if acl == PRIVATE else {**without, HEADER: acl}
