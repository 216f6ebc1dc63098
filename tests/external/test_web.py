"""Pages of web servers as sources."""

from collections.abc import Iterator

import pytest
from external.web_server import (
    WebServer,
    broken_off,
    in_drops,
    one_after_another,
    page,
    page_without_length,
    rest,
    serving_pages,
    status,
)

from appliance.errors import InvalidRequest, TransferFailed
from appliance.external.credentials import Profiles
from appliance.external.transfers import Received, download, iter_objects
from appliance.external.urls import parse_url

BODY = bytes(range(256)) * 40_000


@pytest.fixture
def web() -> Iterator[WebServer]:
    with serving_pages() as server:
        yield server


def fetch(address: str, profiles: Profiles) -> tuple[bytes, Received]:
    body = bytearray()
    [obj] = iter_objects(parse_url(address), profiles, recursive=False)
    received = download(obj, profiles, body.extend)
    return bytes(body), received


def test_page_comes_with_what_is_said_about_it(web: WebServer, profiles: Profiles) -> None:
    said = {"ETag": '"v1"', "Content-Type": "text/csv", "Last-Modified": "Sat, 01 Jan 2000 00:00:00 GMT"}
    web.pages["/dir/a.csv?x=1"] = page(BODY, **said)
    [obj] = iter_objects(parse_url(f"{web.url}/dir/a.csv?x=1"), profiles, recursive=False)
    assert (obj.relative_path, obj.size_bytes, obj.etag, obj.modified_ns) == ("a.csv", len(BODY), "v1", 946684800 * 10**9)
    body, received = fetch(f"{web.url}/dir/a.csv?x=1", profiles)
    assert (body, received.metadata) == (BODY, {"content-type": "text/csv"})


def test_page_of_a_server_that_knows_no_head_and_no_length(web: WebServer, profiles: Profiles) -> None:
    web.pages["/a"] = one_after_another(page_without_length(BODY))
    assert fetch(f"{web.url}/a", profiles)[0] == BODY


def test_page_that_comes_in_drops_is_whole(web: WebServer, profiles: Profiles) -> None:
    web.pages["/a"] = in_drops(BODY[:5000], 1000, ETag='"v1"')
    assert fetch(f"{web.url}/a", profiles)[0] == BODY[:5000]


def test_redirect_is_followed(web: WebServer, profiles: Profiles) -> None:
    web.pages["/old"] = status(302, Location=f"{web.url}/new")
    web.pages["/new"] = page(b"here")
    assert fetch(f"{web.url}/old", profiles)[0] == b"here"


def test_redirects_without_end_are_refused(web: WebServer, profiles: Profiles) -> None:
    web.pages["/a"] = status(302, Location=f"{web.url}/a")
    with pytest.raises(TransferFailed, match=f'error retrieving content from "{web.url}/a": too many redirects'):
        fetch(f"{web.url}/a", profiles)


def test_redirect_to_this_machines_disk_is_not_followed(web: WebServer, profiles: Profiles) -> None:
    web.pages["/a"] = status(302, Location="file:///etc/passwd")
    with pytest.raises(TransferFailed, match="error retrieving content"):
        fetch(f"{web.url}/a", profiles)


def test_user_and_password_go_to_their_server_only(web: WebServer, profiles: Profiles) -> None:
    with serving_pages() as other:
        web.pages["/a"] = status(302, Location=f"http://localhost:{other.server_address[1]}/b")
        other.pages["/b"] = page(b"b")
        assert fetch(web.url.replace("//", "//me:se%63ret@") + "/a", profiles)[0] == b"b"
        assert all(headers["Authorization"] == "Basic bWU6c2VjcmV0" for _, _, headers in web.asked)
        assert all("Authorization" not in headers for _, _, headers in other.asked)


@pytest.mark.parametrize("code", [400, 401, 403, 404, 410])
def test_refusal_is_final_and_shows_no_secret(web: WebServer, profiles: Profiles, code: int) -> None:
    web.pages["/a?key=secret"] = one_after_another(status(code))
    with pytest.raises(TransferFailed, match=f'error retrieving content from "http://[0-9.:]+/a": {code} ') as caught:
        fetch(web.url.replace("//", "//me:secret@") + "/a?key=secret", profiles)
    assert "secret" not in str(caught.value)
    assert len(web.gets) == 1


def test_connection_that_breaks_writes_no_secret_into_the_log(
    web: WebServer, profiles: Profiles, caplog: pytest.LogCaptureFixture
) -> None:
    web.pages["/a?key=secret"] = one_after_another(lambda handler: None, page(b"here"))
    assert fetch(web.url.replace("//", "//me:secret@") + "/a?key=secret", profiles)[0] == b"here"
    assert len(web.gets) == 2
    assert caplog.text == ""


@pytest.mark.parametrize("code", [429, 500, 503])
def test_trouble_that_passes_is_waited_for(web: WebServer, profiles: Profiles, code: int) -> None:
    web.pages["/a"] = one_after_another(status(code), status(code, **{"Retry-After": "0"}), page(b"here"))
    assert fetch(f"{web.url}/a", profiles)[0] == b"here"


def test_trouble_that_stays_is_reported(web: WebServer, profiles: Profiles) -> None:
    web.pages["/a"] = one_after_another(status(503, **{"Retry-After": "0"}))
    with pytest.raises(TransferFailed, match="503 Service Unavailable"):
        fetch(f"{web.url}/a", profiles)
    assert len(web.gets) == 5


def test_broken_connection_is_taken_up_where_it_stopped(web: WebServer, profiles: Profiles) -> None:
    tag = {"ETag": '"v1"'}
    web.pages["/a"] = one_after_another(broken_off(BODY, 3_000_000, **tag), rest(BODY, **tag))
    assert fetch(f"{web.url}/a", profiles)[0] == BODY


def test_page_that_changed_when_its_rest_is_asked_for_is_refused(web: WebServer, profiles: Profiles) -> None:
    changed = page(BODY, ETag='"v2"')
    web.pages["/a"] = one_after_another(broken_off(BODY, 3_000_000, ETag='"v1"'), changed)
    with pytest.raises(TransferFailed, match="changed while it was read"):
        fetch(f"{web.url}/a", profiles)


def test_page_shorter_than_announced_is_refused(web: WebServer, profiles: Profiles) -> None:
    web.pages["/a"] = one_after_another(broken_off(BODY, 3_000_000))
    with pytest.raises(TransferFailed, match=r"broke off after [0-9]+ bytes"):
        fetch(f"{web.url}/a", profiles)


def test_page_of_another_length_than_its_head_said_is_refused(web: WebServer, profiles: Profiles) -> None:
    longer, shorter = page(BODY), page(BODY[:10])
    web.pages["/a"] = lambda handler: (longer if handler.command == "HEAD" else shorter)(handler)
    with pytest.raises(TransferFailed, match="changed while it was read"):
        fetch(f"{web.url}/a", profiles)


def test_compression_on_the_way_is_not_asked_for(web: WebServer, profiles: Profiles) -> None:
    web.pages["/a"] = page(b"x")
    fetch(f"{web.url}/a", profiles)
    assert {headers["Accept-Encoding"] for _, _, headers in web.asked} == {"identity"}


def test_web_servers_have_no_listing(profiles: Profiles) -> None:
    with pytest.raises(InvalidRequest, match="-r is for object stores"):
        iter_objects(parse_url("http://host/dir"), profiles, recursive=True)


def test_server_where_nobody_listens_is_named(dead_endpoint: str, profiles: Profiles) -> None:
    with pytest.raises(TransferFailed, match=f'error retrieving content from "{dead_endpoint}/a": .*Connection refused'):
        fetch(f"{dead_endpoint}/a", profiles)
