"""Canned ACLs in XML: the grants that each stands for (pure). Grants to somebody by name are what roles are for.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/acl-overview.html
"""

from collections.abc import Iterable, Mapping
from typing import Any

from moto.s3.exceptions import MalformedXML

from appliance.gateway.errors import S3Error, not_implemented
from appliance.gateway.parsing import parse_xml
from appliance.gateway.sharing import AUTHENTICATED_READ, HEADER, PUBLIC_READ, PUBLIC_READ_WRITE, parse_canned
from appliance.gateway.views import OWNER
from appliance.store.settings import PRIVATE

_GROUPS = "http://acs.amazonaws.com/groups/global/"
_EVERYBODY, _AUTHENTICATED = f"{_GROUPS}AllUsers", f"{_GROUPS}AuthenticatedUsers"
_SCHEMA = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'

_GRANTS: dict[str, frozenset[tuple[str, str]]] = {
    PRIVATE: frozenset(),
    PUBLIC_READ: frozenset({(_EVERYBODY, "READ")}),
    PUBLIC_READ_WRITE: frozenset({(_EVERYBODY, "READ"), (_EVERYBODY, "WRITE")}),
    AUTHENTICATED_READ: frozenset({(_AUTHENTICATED, "READ")}),
}


def parse_request(headers: Mapping[str, str], body: bytes) -> str:
    """Return the ACL that PutBucketAcl or PutObjectAcl sets. Raises S3Error."""
    if (name := headers.get(HEADER)) is not None:
        return parse_canned(name)
    if not body:
        raise S3Error("MissingSecurityHeader", "Your request was missing a required header: x-amz-acl")
    policy = parse_xml(body, lists=("Grant",)).get("AccessControlPolicy")
    if not isinstance(policy, dict):
        raise MalformedXML
    wanted = policy.get("AccessControlList")
    grants = wanted.get("Grant") if isinstance(wanted, dict) else None
    return _find_canned(grants or ())


def _find_canned(grants: Iterable[Any]) -> str:
    """Return the canned ACL with these grants. Raises S3Error NotImplemented if there is none."""
    given = frozenset(grant for item in grants if (grant := _parse_grant(item)) is not None)
    for name, granted in _GRANTS.items():
        if given == granted:
            return name
    raise not_implemented()


def _parse_grant(item: Any) -> tuple[str, str] | None:
    """Return who may do what; None for the owner, who may do everything in any case."""
    grantee = item.get("Grantee") if isinstance(item, dict) else None
    if not isinstance(grantee, dict) or not isinstance(item.get("Permission"), str):
        raise MalformedXML
    if grantee.get("ID") == OWNER["ID"]:
        return None
    return str(grantee.get("URI") or grantee.get("ID")), item["Permission"]


def render(acl: str) -> str:
    """Return the XML of an ACL."""
    owner = f"<ID>{OWNER['ID']}</ID><DisplayName>{OWNER['DisplayName']}</DisplayName>"
    grants = [_grant(f'xsi:type="CanonicalUser">{owner}', "FULL_CONTROL")]
    # An object can not be written to by others whatever its ACL says, but the ACL comes back as it was set.
    for group, permission in sorted(_GRANTS.get(acl, ())):
        grants.append(_grant(f'xsi:type="Group"><URI>{group}</URI>', permission))
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<AccessControlPolicy {_SCHEMA}><Owner>{owner}</Owner>'
        f"<AccessControlList>{''.join(grants)}</AccessControlList></AccessControlPolicy>"
    )


def _grant(grantee: str, permission: str) -> str:
    schema = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
    return f"<Grant><Grantee {schema} {grantee}</Grantee><Permission>{permission}</Permission></Grant>"
