"""What of moto we stand on: an upgrade that adds a method or reads a new attribute is seen here first."""

import inspect
import itertools
import re
from collections.abc import Iterator
from typing import Any

from gateway.helpers import Served
from moto.core.responses import BaseResponse
from moto.s3.models import S3Backend
from moto.s3.responses import S3Response

from appliance.gateway.backend import RepoBackend
from appliance.gateway.repo_buckets import RepoBuckets
from appliance.gateway.request import make_request, parse_address
from appliance.gateway.responses import GatewayResponse
from appliance.gateway.settings_backend import SettingsBackend
from appliance.gateway.upload_backend import UploadBackend
from appliance.httpd import Headers
from appliance.store import Store

OURS = (RepoBackend, UploadBackend, SettingsBackend)


def public(kind: type) -> set[str]:
    return {name for name, value in inspect.getmembers(kind, callable) if not name.startswith("_")}


def own(kind: type) -> set[str]:
    """The names a class defines itself."""
    return {name for name in vars(kind) if not name.startswith("_")}


def test_every_method_of_the_backend_is_answered_or_refused() -> None:
    decided = set().union(*map(own, OURS)) | RepoBackend.NOT_CONFIGURED.keys() | set(RepoBackend.REFUSED)
    assert (own(S3Backend) & public(S3Backend)) - decided == set()


def test_nothing_is_refused_that_moto_does_not_have() -> None:
    assert set(RepoBackend.REFUSED) | RepoBackend.NOT_CONFIGURED.keys() <= public(S3Backend)


def test_nothing_is_both_implemented_and_refused() -> None:
    sources = "".join(map(inspect.getsource, OURS))
    written = set(re.findall(r"^    (?:def )?(\w+)(?:\(| = )", sources, re.MULTILINE))
    assert {"get_object", "head_object"} <= written
    lists = [written, set(RepoBackend.REFUSED), set(RepoBackend.NOT_CONFIGURED)]
    for one, other in itertools.combinations(lists, 2):
        assert one & other == set()


def test_backend_has_nothing_of_motos_state(store: Store) -> None:
    mine = vars(RepoBackend(store, RepoBuckets()))
    assert not mine.keys() & {"buckets", "table_buckets", "tagger", "_pagination_tokens"}


def assigned(method: Any) -> Iterator[str]:
    yield from re.findall(r"^\s+self\.(\w+)(?:: [^=\n]+)? = ", inspect.getsource(method), re.MULTILINE)


def test_every_attribute_of_motos_setup_is_set(store: Store) -> None:
    response = GatewayResponse(RepoBackend(store, RepoBuckets()))
    wanted = {*assigned(BaseResponse.setup_class), *assigned(BaseResponse.__init__), *assigned(S3Response.__init__)}
    if "setup_class" in vars(S3Response):
        wanted |= set(assigned(S3Response.setup_class))
    assert len(wanted) > 15
    headers = Headers([("Host", "localhost")])
    response.setup_class(make_request("GET", "/a/b", headers, parse_address("/a/b", "localhost"), b""))
    assert {name for name in wanted if not hasattr(response, name)} == set()


def test_action_in_a_query_is_not_motos_action(gateway: Served, bucket: str) -> None:
    assert gateway.request("GET", f"/{bucket}?Action=DeleteBucket").status == 200
    assert gateway.request("HEAD", f"/{bucket}").status == 200
