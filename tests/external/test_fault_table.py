"""What may go wrong at each provider, from the command line, in both directions: what is said of it and what is left."""

import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from urllib.parse import unquote

import pytest
from cli.helpers import Serving, Shell
from external.putting import check_nothing_came, commits
from external.relay import Relay, RelayHandler, relayed, through
from external.servers import AZURITE_ACCOUNT, Remote, a_profile, azure_profile, google_profile

from appliance.client import Appliance as Client
from appliance.errors import ApplianceError
from appliance.external.credentials import Profiles
from appliance.external.transfers import Outgoing, upload_all
from appliance.external.urls import parse_url

BODY = b"".join(number.to_bytes(8, "big") for number in range(20 * 1024 * 1024 // 8))
NAMES = [f"{number:02}" for number in range(12)]
TOKEN = "a-token-that-is-never-shown"
WRONG = "d3JvbmctYW5kLW5ldmVyLXNob3du"

# What a provider answers, and what is said then.
Refusal = tuple[int, bytes, str]
EXPIRED: dict[str, Refusal] = {
    "s3": (
        400,
        b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>",
        "The provided token has expired. (ExpiredToken)",
    ),
    "azblob": (
        401,
        b"<Error><Code>InvalidAuthenticationInfo</Code><Message>Lifetime validation failed. The token is expired.\n"
        b"RequestId:0\nTime:2026-01-01T00:00:00Z</Message></Error>",
        "Lifetime validation failed. The token is expired. (InvalidAuthenticationInfo)",
    ),
    "gs": (
        401,
        b"<Error><Code>AuthenticationRequired</Code><Message>Authentication required.</Message></Error>",
        "Authentication required. (AuthenticationRequired)",
    ),
}
FORBIDDEN: dict[str, Refusal] = {
    "s3": (403, b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>", "Access Denied (AccessDenied)"),
    "azblob": (
        403,
        b"<Error><Code>AuthorizationPermissionMismatch</Code><Message>No permission.\nRequestId:0</Message></Error>",
        "No permission. (AuthorizationPermissionMismatch)",
    ),
    "gs": (
        403,
        b"<Error><Code>AccessDenied</Code><Message>Access denied.</Message></Error>",
        "Access denied. (AccessDenied)",
    ),
}
WRONG_KEY = {"s3": "SignatureDoesNotMatch", "azblob": "AuthorizationFailure", "gs": "AuthenticationRequired"}

Command = Callable[[], tuple[str, ...]]


@pytest.fixture(autouse=True)
def profiles(appliance: Serving) -> Iterator[Profiles]:
    """What the servers' fixtures write their credentials into: the appliance's own, empty again after each test."""
    kept = Profiles(appliance.data)
    yield kept
    for profile in kept.list_profiles():
        kept.delete(profile.name)


@pytest.fixture(params=["rclone", "azurite", "google"])
def remote(request: pytest.FixtureRequest) -> Remote:
    """One server for each provider; the first two check signatures."""
    found: Remote = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def relay(remote: Remote, profiles: Profiles) -> Iterator[Relay]:
    """A relay in front of the server, and credentials for it."""
    with relayed(remote.endpoint) as opened:
        for profile in profiles.list_profiles():
            profiles.put(replace(profile, endpoint=through(opened, remote.endpoint), name="relay"))
        yield opened


def address(remote: Remote, relay: Relay, key: str = "dir") -> str:
    return f"{remote.scheme}://{remote.bucket}/{key}?endpoint={through(relay, remote.endpoint)}"


def command_in(remote: Remote, relay: Relay, repo: str) -> tuple[str, ...]:
    """Have objects there, and return the command that puts them."""
    for name in NAMES:
        remote.put(f"dir/{name}", name.encode())
    return "put", "file", f"{repo}@master", "-r", "-f", address(remote, relay)


def command_out(sh: Shell, remote: Remote, relay: Relay, repo: str) -> tuple[str, ...]:
    """Have files here, and return the command that copies them."""
    for name in NAMES:
        sh("put", "file", f"{repo}@master:/dir/{name}", stdin=name.encode())
    return "get", "file", f"{repo}@master:/dir", "-r", "-o", address(remote, relay, "")


def files(sh: Shell, repo: str) -> dict[str, bytes]:
    found = sh("glob", "file", f"{repo}@master:/**", "--raw").objects
    paths = [entry["path"] for entry in found if not entry["is_dir"]]
    return {path: sh("get", "file", f"{repo}@master:{path}").out.encode("utf-8") for path in paths}


def content(remote: Remote) -> dict[str, bytes]:
    return {key: remote.get(key) for key in remote.list_keys()}


def wanted() -> dict[str, bytes]:
    return {f"dir/{name}": name.encode() for name in NAMES}


def refuse(refusal: Refusal, *, of: str = "") -> Callable[[RelayHandler], bool | None]:
    """Answer so whatever is about a key that ends like this."""

    def answer(handler: RelayHandler) -> bool | None:
        return handler.answer(refusal[0], refusal[1]) if unquote(handler.path).partition("?")[0].endswith(of) else None

    return answer


def with_secrets(profiles: Profiles) -> None:
    """Give the profile for the relay a wrong key, and where there are some, a token."""
    for profile in profiles.list_profiles():
        if profile.name == "relay" and profile.provider != "google":
            token = TOKEN if profile.provider == "amazon" else None
            profiles.put(replace(profile, secret_access_key=WRONG, session_token=token))


def check_kept_secret(appliance: Serving, line: str) -> None:
    said = line + (appliance.data / "log").read_text() + (appliance.data.parent / "stderr").read_text()
    assert not any(secret in said for secret in (WRONG, TOKEN))


@pytest.mark.parametrize("direction", ["in", "out"])
def test_wrong_key_is_refused_at_once(
    sh: Shell, repo: str, remote: Remote, relay: Relay, profiles: Profiles, appliance: Serving, direction: str
) -> None:
    command = command_in(remote, relay, repo) if direction == "in" else command_out(sh, remote, relay, repo)
    before = remote.list_keys()
    with_secrets(profiles)
    asked: list[str] = []
    relay.before = lambda handler: asked.append(handler.path)
    if remote.scheme == "gs":  # its emulator asks nobody for a key
        relay.before = lambda handler: asked.append(handler.path) or refuse(EXPIRED["gs"])(handler)
    status, line = sh.refused(*command)
    assert status == 1
    assert WRONG_KEY[remote.scheme] in line
    assert len(asked) < 2 * len(NAMES) + 2
    check_kept_secret(appliance, line)
    assert remote.list_keys() == before
    if direction == "in":
        check_nothing_came(sh, repo, appliance)


@pytest.mark.parametrize("direction", ["in", "out"])
def test_expired_token_is_refused_at_once(
    sh: Shell, repo: str, remote: Remote, relay: Relay, profiles: Profiles, appliance: Serving, direction: str
) -> None:
    command = command_in(remote, relay, repo) if direction == "in" else command_out(sh, remote, relay, repo)
    with_secrets(profiles)
    relay.before = refuse(EXPIRED[remote.scheme])
    _, line = sh.refused(*command)
    assert line.endswith(EXPIRED[remote.scheme][2])
    check_kept_secret(appliance, line)
    if direction == "in":
        check_nothing_came(sh, repo, appliance)
    else:
        assert remote.list_keys() == []


def test_refusal_of_one_object_of_many_commits_nothing(
    sh: Shell, repo: str, remote: Remote, relay: Relay, appliance: Serving
) -> None:
    command = command_in(remote, relay, repo)
    relay.before = refuse(FORBIDDEN[remote.scheme], of="dir/07")
    _, line = sh.refused(*command)
    assert line == f"{remote.scheme}://{remote.bucket}/dir/07: {FORBIDDEN[remote.scheme][2]}"
    check_nothing_came(sh, repo, appliance)


def test_words_of_a_server_do_not_reach_the_terminal_as_they_are(sh: Shell, repo: str, remote: Remote, relay: Relay) -> None:
    relay.before = lambda handler: handler.answer(
        403, "<Error><Code>No</Code><Message>\x9b2J\u202e!</Message></Error>".encode()
    )
    _, line = sh.refused("put", "file", f"{repo}@master", "-r", "-f", address(remote, relay))
    assert line == f"{remote.scheme}://{remote.bucket}/dir: \\x9b2J\\u202e! (No)"


def test_refusal_of_one_file_of_many_leaves_only_whole_ones(sh: Shell, repo: str, remote: Remote, relay: Relay) -> None:
    command = command_out(sh, remote, relay, repo)
    relay.before = refuse(FORBIDDEN[remote.scheme], of="dir/07")
    _, line = sh.refused(*command)
    assert line == f"{remote.scheme}://{remote.bucket}/dir/07: {FORBIDDEN[remote.scheme][2]}"
    assert content(remote).items() < wanted().items()


def test_refusal_in_the_middle_of_a_large_file_leaves_nothing_of_it(
    sh: Shell, repo: str, remote: Remote, relay: Relay
) -> None:
    sh("put", "file", f"{repo}@master:/large", stdin=BODY)
    parts = itertools.count(1)
    relay.before = lambda handler: (
        refuse(FORBIDDEN[remote.scheme])(handler) if len(handler.body) > 1_000_000 and next(parts) == 2 else None
    )
    _, line = sh.refused("get", "file", f"{repo}@master:/large", "-o", address(remote, relay, ""))
    assert line == f"{remote.scheme}://{remote.bucket}/large: {FORBIDDEN[remote.scheme][2]}"
    assert remote.list_keys() == []
    if remote.scheme == "s3":  # somebody would have to pay for an upload that stays open
        assert not remote.client.list_multipart_uploads(Bucket=remote.bucket).get("Uploads")


def trouble(relay: Relay, command: str) -> list[str]:
    """Have the relay answer the first requests for each path as an overworked server does; return what it was asked then."""
    troubles: list[str] = []
    lock = threading.Lock()

    def answer(handler: RelayHandler) -> bool | None:
        with lock:
            if handler.command != command or troubles.count(handler.path) >= 2:
                return None
            troubles.append(handler.path)
            ways = (lambda: handler.answer(500), lambda: handler.answer(503), handler.cut, lambda: handler.answer(429))
            way = ways[len(troubles) % 4]
        return way()

    relay.before = answer
    return troubles


def test_trouble_for_a_while_is_waited_for_on_the_way_in(sh: Shell, repo: str, remote: Remote, relay: Relay) -> None:
    command = command_in(remote, relay, repo)
    troubles = trouble(relay, "GET")
    sh(*command)
    assert files(sh, repo) == {f"/{name}": name.encode() for name in NAMES}
    assert (len(troubles) > 2 * len(NAMES), len(commits(sh, repo))) == (True, 1)


def test_trouble_for_a_while_is_waited_for_on_the_way_out(sh: Shell, repo: str, remote: Remote, relay: Relay) -> None:
    command = command_out(sh, remote, relay, repo)
    troubles = trouble(relay, "PUT")
    sh(*command)
    assert content(remote) == wanted()
    assert len(troubles) == 2 * len(NAMES)


def test_connection_cut_in_the_middle_of_a_part_is_made_again(
    sh: Shell, repo: str, remote: Remote, relay: Relay, tmp_path: Path
) -> None:
    sh("put", "file", f"{repo}@master:/large", stdin=BODY)
    relay.cut_first_upload = relay.cut_first_body = True
    sh("get", "file", f"{repo}@master:/large", "-o", address(remote, relay, "dir"))
    assert not relay.cut_first_upload
    assert remote.get("dir/large") == BODY
    sh("put", "file", f"{repo}@back", "-r", "-f", address(remote, relay, "dir"))
    assert not relay.cut_first_body
    sh("get", "file", f"{repo}@back:/large", "-o", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == BODY


def test_endpoint_that_is_down_for_good_is_named(
    sh: Shell, repo: str, dead_endpoint: str, profiles: Profiles, appliance: Serving
) -> None:
    """All six ways at once, for each takes some seconds to give up; those out with less tries than in earnest."""
    for profile in (a_profile(dead_endpoint), azure_profile(dead_endpoint), google_profile(dead_endpoint)):
        profiles.put(profile)
    endpoints = {"s3": dead_endpoint, "azblob": f"{dead_endpoint}/{AZURITE_ACCOUNT}", "gs": dead_endpoint}
    urls = [f"{scheme}://bucket/dir?endpoint={endpoint}" for scheme, endpoint in endpoints.items()]
    client = Client(appliance.data)

    def fail(transfer: Callable[[], object]) -> str:
        with pytest.raises(ApplianceError) as caught:
            transfer()
        return str(caught.value)

    item = Outgoing("a", 1, None, lambda: iter([b"1"]))
    ways: list[Callable[[], object]] = [partial(client.put_url, f"{repo}@in", url, recursive=True) for url in urls]
    ways += [partial(upload_all, parse_url(url), profiles, [item], tries=2) for url in urls]
    with ThreadPoolExecutor(len(ways)) as pool:
        said = list(pool.map(fail, ways))
    names = [*(f"{scheme}://bucket/dir" for scheme in endpoints), *(f"{scheme}://bucket/dir/a" for scheme in endpoints)]
    assert said == [f"{name}: can not reach {dead_endpoint}: Connection refused" for name in names]
    check_nothing_came(sh, repo, appliance)
