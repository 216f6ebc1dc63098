import hashlib
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from external.servers import SECRET, Remote, Scripted, a_profile

from appliance.errors import (
    ApplianceError,
    FileNotFound,
    InvalidRequest,
    StoreDamaged,
    TransferFailed,
    Unsupported,
)
from appliance.external.credentials import Profiles
from appliance.external.transfers import Outgoing, Piece, RemoteObject, download, iter_objects, require_remote, upload_all
from appliance.external.urls import parse_url

MIB = 1 << 20
ODD_KEYS = ["a b.csv", "a+b.csv", "100%.csv", "a%20b.csv", "données/é ü.csv", "q?r#s~[t]&u=v.csv", "深い/場所/x"]


def read(obj: RemoteObject, remote: Remote) -> bytes:
    body = bytearray()

    def write(piece: Piece) -> None:
        assert 0 < len(piece) <= 8 * MIB
        body.extend(piece)

    download(obj, remote.profiles, write)
    return bytes(body)


def listed(remote: Remote, key: str = "", *, recursive: bool = True) -> list[RemoteObject]:
    return list(iter_objects(remote.url(key), remote.profiles, recursive=recursive))


def outgoing(path: str, body: bytes = b"x", *, opened: Callable[[], object] = int, etag: str | None = None) -> Outgoing:
    def open_body() -> Iterator[bytes]:
        opened()
        return (body[start : start + MIB] for start in range(0, len(body), MIB))

    return Outgoing(path, len(body), etag, open_body)


def with_md5(path: str, body: bytes) -> Outgoing:
    return outgoing(path, body, etag=hashlib.md5(body).hexdigest())


# In


def test_a_single_object_comes_with_size_etag_time_and_last_element(remote: Remote) -> None:
    remote.put("dir/a.csv", b"1,2\n")
    [obj] = listed(remote, "dir/a.csv", recursive=False)
    assert (obj.key, obj.relative_path, obj.size_bytes) == ("dir/a.csv", "a.csv", 4)
    told = remote.described("dir/a.csv")
    assert obj.etag == told.etag
    assert obj.modified_ns is not None
    assert obj.modified_ns // 10**9 == int(told.modified.timestamp())
    assert read(obj, remote) == b"1,2\n"


def test_a_prefix_is_a_directory(remote: Remote) -> None:
    for key in ("dir/x", "dir/sub/y", "dir2/x", "directory"):
        remote.put(key)
    assert sorted(obj.relative_path for obj in listed(remote, "dir")) == ["sub/y", "x"]


def test_a_whole_bucket_is_copied_with_its_keys(remote: Remote) -> None:
    for key in ODD_KEYS:
        remote.put(key, key.encode())
    assert {obj.relative_path: read(obj, remote) for obj in listed(remote)} == {key: key.encode() for key in ODD_KEYS}


@pytest.mark.parametrize("written", ["a b.csv", "a+b.csv", "100%25.csv", "a%2520b.csv", "données/é%20ü.csv"])
def test_an_odd_key_can_be_addressed(remote: Remote, written: str) -> None:
    remote.put(remote.url(written).key, b"here")
    [obj] = listed(remote, written, recursive=False)
    assert read(obj, remote) == b"here"


def test_an_empty_object_is_kept_and_a_directory_marker_is_not(moto: Remote) -> None:
    moto.put("dir/", b"")
    moto.put("dir/sub/", b"")
    moto.put("dir/empty", b"")
    [obj] = listed(moto, "dir")
    assert (obj.relative_path, obj.size_bytes) == ("empty", 0)
    assert read(obj, moto) == b""


def test_recursion_into_what_is_no_directory_gives_the_object(remote: Remote) -> None:
    remote.put("dir/a.csv")
    assert [obj.relative_path for obj in listed(remote, "dir/a.csv")] == ["a.csv"]


def test_an_empty_bucket_has_no_objects(remote: Remote) -> None:
    assert listed(remote) == []


@pytest.mark.parametrize("recursive", [False, True])
def test_a_missing_object_is_named(remote: Remote, recursive: bool) -> None:
    with pytest.raises(FileNotFound, match=f"{remote.scheme}://{remote.bucket}/nothing: no such object"):
        listed(remote, "nothing", recursive=recursive)


def test_a_directory_without_recursion_says_what_to_do(remote: Remote) -> None:
    remote.put("dir/x")
    with pytest.raises(FileNotFound, match=r"is a directory.*-r"):
        listed(remote, "dir", recursive=False)
    with pytest.raises(InvalidRequest, match=r"is a bucket.*-r"):
        listed(remote, recursive=False)


@pytest.mark.parametrize("recursive", [False, True])
def test_a_missing_bucket_is_not_a_missing_object(remote: Remote, recursive: bool) -> None:
    url = parse_url(f"{remote.scheme}://no-such-bucket/key?endpoint={remote.endpoint}")
    with pytest.raises(
        TransferFailed, match=rf"{remote.scheme}://no-such-bucket/key: .* does not exist.*\({remote.no_bucket}\)"
    ):
        list(iter_objects(url, remote.profiles, recursive=recursive))


@pytest.mark.parametrize("key", ["a//b", "/a", "a/../b", "dir/"])
def test_a_key_that_can_not_be_a_path_is_listed_as_it_is(moto: Remote, key: str) -> None:
    moto.put(key)
    assert [obj.relative_path for obj in listed(moto)] == [key]


def test_a_literal_prefix_is_no_directory(remote: Remote) -> None:
    for key in ("dir/x", "dir/sub/y", "dir2/x", "directory", "other"):
        remote.put(key)
    found = iter_objects(remote.url("dir"), remote.profiles, recursive=True, literal=True)
    assert sorted(obj.relative_path for obj in found) == ["2/x", "ectory", "sub/y", "x"]


def test_a_large_object_arrives_in_bounded_pieces(remote: Remote) -> None:
    body = bytes(range(256)) * (4096 * 20)
    remote.put("large", body)
    [obj] = listed(remote, "large", recursive=False)
    assert read(obj, remote) == body


@pytest.mark.parametrize("later", [b"other", b"longer than before", None])
def test_an_object_that_changes_after_the_listing_is_refused(remote: Remote, later: bytes | None) -> None:
    remote.put("a", b"first")
    [obj] = listed(remote)
    if later is None:
        remote.delete("a")
    else:
        remote.put("a", later)
    with pytest.raises(TransferFailed, match=f"{remote.scheme}://{remote.bucket}/a changed while it was read"):
        read(obj, remote)


def test_a_download_stops_when_asked(moto: Remote) -> None:
    moto.put("a", b"first")
    [obj] = listed(moto)
    with pytest.raises(TransferFailed, match="stopped"):
        download(obj, moto.profiles, pytest.fail, stop=lambda: True)


def test_an_error_of_the_writer_is_passed_on(moto: Remote) -> None:
    def write(_: bytes) -> None:
        raise ValueError("the disk is full")

    moto.put("a", b"first")
    [obj] = listed(moto)
    with pytest.raises(ValueError, match="the disk is full"):
        download(obj, moto.profiles, write)


# Out


def test_files_arrive_below_the_prefix_with_their_bytes(remote: Remote) -> None:
    items = [outgoing("/" + key, key.encode()) for key in ODD_KEYS] + [outgoing("/empty", b"")]
    result = upload_all(remote.url("to/dir/"), remote.profiles, items)
    assert (result.uploaded, result.skipped) == (len(items), 0)
    assert result.size_bytes == sum(len(key.encode()) for key in ODD_KEYS)
    assert {key: remote.get(f"to/dir/{key}") for key in ODD_KEYS} == {key: key.encode() for key in ODD_KEYS}
    assert remote.get("to/dir/empty") == b""


def test_content_type_and_metadata_travel(moto: Remote) -> None:
    item = Outgoing(
        "a", 1, None, lambda: iter([b"x"]), "text/csv", {"lab": "north", "name": "Zoë", "Cache-Control": "no-store"}
    )
    upload_all(moto.url(), moto.profiles, [item])
    head = moto.client.head_object(Bucket=moto.bucket, Key="a")
    assert (head["ContentType"], head["CacheControl"]) == ("text/csv", "no-store")
    assert head["Metadata"] == {"lab": "north", "name": "=?utf-8?q?Zo=C3=AB?="}


@pytest.mark.parametrize(("server", "name"), [("moto", "lab-name"), ("azurite", "lab_name"), ("google", "lab-name")])
def test_metadata_goes_out_and_comes_back(request: pytest.FixtureRequest, server: str, name: str) -> None:
    remote: Remote = request.getfixturevalue(server)
    item = Outgoing("a", 1, None, lambda: iter([b"x"]), "text/csv", {"lab-name": "north"})
    upload_all(remote.url(), remote.profiles, [item])
    told = remote.described("a")
    assert (told.content_type, told.metadata) == ("text/csv", {name: "north"})
    [obj] = listed(remote)
    received = download(obj, remote.profiles, [].append)
    assert received.metadata == {"content-type": "text/csv", f"x-amz-meta-{name}": "north"}


def test_a_large_file_goes_in_parts_and_comes_back(remote: Remote) -> None:
    body = b"".join(index.to_bytes(8, "big") for index in range(20 * MIB // 8))
    result = upload_all(remote.url("large"), remote.profiles, [outgoing("a", body)])
    assert (result.uploaded, result.size_bytes) == (1, len(body))
    [obj] = listed(remote, "large")
    assert read(obj, remote) == body


def test_more_objects_than_a_page_are_sent_and_listed(remote: Remote) -> None:
    names = {f"{number:05}" for number in range(1001)}
    result = upload_all(remote.url("many"), remote.profiles, (outgoing(name) for name in names))
    assert result.uploaded == 1001
    assert {obj.relative_path for obj in iter_objects(remote.url("many"), remote.profiles, recursive=True)} == names


def test_files_are_asked_for_no_earlier_than_they_can_be_sent(moto: Remote) -> None:
    lock, asked, opened, most = threading.Lock(), 0, 0, 0

    def count() -> None:
        nonlocal opened, most
        with lock:
            opened += 1
            most = max(most, asked - opened)

    def items() -> Iterator[Outgoing]:
        nonlocal asked
        for number in range(40):
            with lock:
                asked += 1
            yield outgoing(str(number), opened=count)

    upload_all(moto.url(), moto.profiles, items(), parallel=4)
    assert (opened, asked) == (40, 40)
    assert most <= 4


def test_what_is_there_unchanged_is_skipped(remote: Remote) -> None:
    items = [with_md5("small", b"small"), with_md5("empty", b""), with_md5("large", b"l" * (20 * MIB))]
    upload_all(remote.url("to"), remote.profiles, items)
    again = upload_all(remote.url("to"), remote.profiles, [*items, with_md5("new", b"new")])
    assert (again.uploaded, again.skipped, again.size_bytes) == (1, 3, 3)


def test_what_differs_is_overwritten_and_nothing_is_deleted(remote: Remote) -> None:
    remote.put("to/other")
    upload_all(remote.url("to"), remote.profiles, [with_md5("a", b"one")])
    result = upload_all(remote.url("to"), remote.profiles, [with_md5("a", b"two")])
    assert (result.uploaded, result.skipped) == (1, 0)
    assert remote.get("to/a") == b"two"
    assert remote.get("to/other") == b"x"


def test_our_etag_of_several_parts_is_known_again(remote: Remote) -> None:
    item = outgoing("a", b"abc", etag="0123456789abcdef0123456789abcdef-2")
    assert upload_all(remote.url(), remote.profiles, [item]).uploaded == 1
    assert upload_all(remote.url(), remote.profiles, [item]).skipped == 1


def test_note_of_our_etag_is_no_metadata_of_the_file(remote: Remote) -> None:
    """It would go out with what the file has become since, and that be taken for what it was."""
    was, became = b"a" * 30, b"b" * 30
    etag = f"{'0' * 32}-2"
    noted = {"appliance-etag": etag}
    upload_all(remote.url(), remote.profiles, [outgoing("a", was, etag=etag)])
    [obj] = listed(remote)
    assert not [name for name in download(obj, remote.profiles, [].append).metadata if "appliance" in name]
    upload_all(remote.url(), remote.profiles, [replace(with_md5("a", became), metadata=noted)])
    assert upload_all(remote.url(), remote.profiles, [outgoing("a", was, etag=etag)]).uploaded == 1
    assert remote.get("a") == was


def test_a_file_that_can_not_be_opened_is_named(remote: Remote) -> None:
    item = outgoing("a", opened=Path("/no/such/blob").read_bytes)
    with pytest.raises(
        TransferFailed, match=f"{remote.scheme}://{remote.bucket}/to/a: its file can not be read: .*No such file"
    ):
        upload_all(remote.url("to"), remote.profiles, [item])


def test_an_error_of_our_store_is_passed_on_and_nothing_appears(remote: Remote) -> None:
    def break_off() -> Iterator[bytes]:
        yield from (b"x" * MIB for _ in range(20))
        raise StoreDamaged("a blob is missing")

    with pytest.raises(StoreDamaged, match="a blob is missing"):
        upload_all(remote.url(), remote.profiles, [Outgoing("large", 30 * MIB, None, break_off)])
    assert listed(remote) == []


def test_an_error_while_files_are_listed_is_passed_on(moto: Remote) -> None:
    def items() -> Iterator[Outgoing]:
        yield outgoing("a")
        raise StoreDamaged("a row is missing")

    with pytest.raises(StoreDamaged, match="a row is missing"):
        upload_all(moto.url(), moto.profiles, items())


@pytest.mark.parametrize("announced", [2, 4])
def test_a_file_of_another_size_than_announced_is_not_sent(moto: Remote, announced: int) -> None:
    item = Outgoing("a", announced, None, lambda: iter([b"x", b"yz"]))
    with pytest.raises(ApplianceError, match=f"a has more or less than its {announced} bytes"):
        upload_all(moto.url(), moto.profiles, [item])
    assert listed(moto) == []


def test_egress_stops_when_asked(moto: Remote) -> None:
    stop = threading.Event()

    def items() -> Iterator[Outgoing]:
        yield outgoing("a", opened=stop.set)
        stop.wait(30)
        yield outgoing("b", opened=pytest.fail)

    with pytest.raises(TransferFailed, match="stopped"):
        upload_all(moto.url(), moto.profiles, items(), stop=stop.is_set)


def test_what_may_pass_is_tried_again_from_the_start(scripted: Scripted, profiles: Profiles) -> None:
    scripted.script = [503] * 3  # the library's own tries for one request
    opened: list[None] = []
    item = outgoing("a", opened=lambda: opened.append(None))
    result = upload_all(parse_url(f"s3://bucket/?endpoint={scripted.endpoint}"), profiles, [item])
    assert result.uploaded == 1
    assert (len(opened), scripted.puts) == (2, 4)


def test_tries_are_bounded(scripted: Scripted, profiles: Profiles) -> None:
    scripted.script = [503] * 100
    with pytest.raises(TransferFailed, match="s3://bucket/a: 503 Service Unavailable"):
        upload_all(parse_url(f"s3://bucket?endpoint={scripted.endpoint}"), profiles, [outgoing("a")], tries=2)
    assert scripted.puts == 6


@pytest.mark.parametrize("status", [400, 403, 404])
def test_a_refusal_is_final(scripted: Scripted, profiles: Profiles, status: int) -> None:
    scripted.script = [status] * 100
    with pytest.raises(TransferFailed, match=f"s3://bucket/a: {status} "):
        upload_all(parse_url(f"s3://bucket?endpoint={scripted.endpoint}"), profiles, [outgoing("a")])
    assert scripted.puts == 1


def test_the_first_failure_ends_all(scripted: Scripted, profiles: Profiles) -> None:
    scripted.script = [403] * 100
    items = (outgoing(str(number)) for number in range(1000))
    with pytest.raises(TransferFailed, match="403"):
        upload_all(parse_url(f"s3://bucket?endpoint={scripted.endpoint}"), profiles, items, parallel=2)
    assert scripted.puts < 10


# Both


def test_a_missing_bucket_ends_egress(remote: Remote) -> None:
    url = parse_url(f"{remote.scheme}://no-such-bucket/to?endpoint={remote.endpoint}")
    with pytest.raises(TransferFailed, match=rf"{remote.scheme}://no-such-bucket/to/a: .*\({remote.no_bucket}\)"):
        upload_all(url, remote.profiles, [with_md5("a", b"x")])


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"secret_access_key": "wrong-and-secret"}, "SignatureDoesNotMatch"),
        ({"access_key_id": "WRONG"}, "InvalidAccessKeyId"),
    ],
)
def test_a_wrong_key_is_reported_without_it(
    rclone: Remote, changes: dict[str, str], code: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    rclone.profiles.put(a_profile(rclone.endpoint, **changes))
    with pytest.raises(TransferFailed, match=f"s3://{rclone.bucket}/: .*{code}") as inward:
        listed(rclone)
    with pytest.raises(TransferFailed, match=f"s3://{rclone.bucket}/a: .*{code}") as outward:
        upload_all(rclone.url(), rclone.profiles, [with_md5("a", b"x")])
    for caught in (inward, outward):
        assert "secret" not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None
        assert "\n" not in str(caught.value)
    assert SECRET not in caplog.text
    assert "wrong-and-secret" not in caplog.text


def test_the_endpoint_may_come_from_the_profile(rclone: Remote) -> None:
    rclone.put("a")
    url = parse_url(f"s3://{rclone.bucket}")
    assert [obj.key for obj in iter_objects(url, rclone.profiles, recursive=True)] == ["a"]


def test_without_any_credentials_the_message_says_so(
    dead_endpoint: str, moto: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", dead_endpoint)
    with pytest.raises(TransferFailed, match=f"s3://{moto.bucket}/: no credentials"):
        list(iter_objects(moto.url(), Profiles(tmp_path / "empty"), recursive=True))


def test_a_profile_is_not_mixed_with_the_environment(rclone: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "WRONG")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "wrong")
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
    rclone.put("a")
    assert [obj.key for obj in listed(rclone)] == ["a"]


@pytest.mark.parametrize("text", ["https://host/key", "http://host/key", "file:///key"])
def test_nothing_is_written_to_what_is_for_reading(profiles: Profiles, text: str) -> None:
    url = parse_url(text)
    for attempt in (lambda: require_remote(url), lambda: upload_all(url, profiles, [])):
        with pytest.raises(Unsupported, match=f"{url.scheme}:// is for reading"):
            attempt()
