"""Listing objects, both versions: pages, delimiters, encodings."""

import string
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from gateway.helpers import Served, client, keys_of, prefixes_of, refused, serving
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store.helpers import create_repos, put_all

from appliance.gateway.repo_buckets import RepoBuckets
from appliance.store import Store

KEYS = ["a", "a!b", "a/1", "a/2", "a/b/3", "a0", "b", "b/", "c/d/e", "c-d", "zß", "日/本"]
Listing = tuple[list[str], list[str]]


@pytest.fixture
def filled(gateway: Served) -> str:
    """A bucket with KEYS that can be there together."""
    create_repos(gateway.store, "data")
    keys = [key for key in KEYS if key not in ("a", "b")]
    put_all(gateway.store, "data", {f"/{key}": key.encode() if not key.endswith("/") else b"" for key in keys})
    return "master.data"


def model(keys: list[str], prefix: str = "", delimiter: str = "", after: str = "") -> Listing:
    """Return what S3 lists, by its documentation."""
    listed, rolled = [], set()
    for key in sorted((key for key in keys if key.startswith(prefix)), key=str.encode):
        cut = key.find(delimiter, len(prefix)) if delimiter else -1
        group = key[: cut + len(delimiter)] if cut >= 0 else None
        if group is not None and group > after:
            rolled.add(group)
        elif group is None and key > after:
            listed.append(key)
    return listed, sorted(rolled)


def pages_v1(s3: Any, **options: Any) -> Iterator[dict[str, Any]]:
    page = s3.list_objects(**options)
    yield page
    while page["IsTruncated"]:
        page = s3.list_objects(**{**options, "Marker": page.get("NextMarker") or keys_of(page)[-1]})
        yield page


def pages_v2(s3: Any, **options: Any) -> Iterator[dict[str, Any]]:
    page = s3.list_objects_v2(**options)
    yield page
    while page["IsTruncated"]:
        page = s3.list_objects_v2(**{**options, "ContinuationToken": page["NextContinuationToken"]})
        yield page


VERSIONS: list[Callable[..., Iterator[dict[str, Any]]]] = [pages_v1, pages_v2]


def all_of(pages: Iterator[dict[str, Any]], size: int) -> Listing:
    """Return everything on some pages, each of them as full as it can be."""
    keys: list[str] = []
    prefixes: list[str] = []
    for page in pages:
        count = len(keys_of(page)) + len(prefixes_of(page))
        assert count == size if page["IsTruncated"] else count <= size
        keys += keys_of(page)
        prefixes += prefixes_of(page)
    return keys, prefixes


@pytest.mark.parametrize("pages", VERSIONS)
@pytest.mark.parametrize("options", [{}, {"Delimiter": "/"}, {"Prefix": "a"}, {"Prefix": "a", "Delimiter": "/"}])
def test_pages_of_every_size_have_everything_once(
    s3: Any, filled: str, pages: Callable[..., Iterator[dict[str, Any]]], options: dict[str, str]
) -> None:
    keys = [key for key in KEYS if key not in ("a", "b")]
    expected = model(keys, options.get("Prefix", ""), options.get("Delimiter", ""))
    for size in range(1, len(keys) + 2):
        assert all_of(pages(s3, Bucket=filled, MaxKeys=size, **options), size) == expected


WORDS = st.text(alphabet="ab-.é/", min_size=1, max_size=6)


@pytest.fixture
def many(store: Store) -> Iterator[tuple[Served, Any]]:
    with serving(store, RepoBuckets()) as gateway, client(gateway.url) as s3:
        yield gateway, s3


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    words=st.sets(WORDS, max_size=12),
    prefix=st.text(alphabet="ab-.é/", max_size=2),
    delimiter=st.sampled_from(["", "/", "a", "b-", "é"]),
    after=st.text(alphabet="ab/", max_size=3),
    size=st.integers(1, 5),
)
def test_listings_are_those_of_the_model(
    many: tuple[Served, Any], words: set[str], prefix: str, delimiter: str, after: str, size: int
) -> None:
    gateway, s3 = many
    keys = sorted("/".join(part + "x" for part in word.split("/") if part) or "x" for word in words)
    keys = [key for key in dict.fromkeys(keys) if not any(other.startswith(key + "/") for other in keys)]
    with gateway.store.snapshot() as db:
        branch = f"b{db.value('SELECT count(*) FROM branches')}"
    if branch == "b0":
        create_repos(gateway.store, "data")
    put_all(gateway.store, "data", {f"/{key}": b"" for key in keys}, branch)
    options = {"Bucket": f"{branch}.data", "Prefix": prefix, "Delimiter": delimiter, "MaxKeys": size}
    expected = model(keys, prefix.removeprefix("/"), delimiter, after)
    assert all_of(pages_v2(s3, **options, StartAfter=after), size) == expected
    expected = model(keys, prefix.removeprefix("/"), delimiter)
    assert all_of(pages_v1(s3, **options), size) == expected


@pytest.mark.parametrize("delimiter", ["/", "b", "/b", "!", "ß", "nothing", "%", " "])
def test_any_text_is_a_delimiter(s3: Any, filled: str, delimiter: str) -> None:
    keys = [key for key in KEYS if key not in ("a", "b")]
    page = s3.list_objects_v2(Bucket=filled, Delimiter=delimiter)
    assert (keys_of(page), prefixes_of(page)) == model(keys, delimiter=delimiter)


def test_start_after_need_not_exist(s3: Any, filled: str) -> None:
    page = s3.list_objects_v2(Bucket=filled, StartAfter="b0")
    assert keys_of(page) == ["c-d", "c/d/e", "zß", "日/本"]
    assert page["StartAfter"] == "b0"


def test_marker_is_exclusive(s3: Any, filled: str) -> None:
    assert keys_of(s3.list_objects(Bucket=filled, Marker="c/d/e")) == ["zß", "日/本"]


def test_marker_behind_everything(s3: Any, filled: str) -> None:
    page = s3.list_objects(Bucket=filled, Marker="\U0010ffff")
    assert (keys_of(page), page["IsTruncated"]) == ([], False)


def test_token_wins_over_start_after(s3: Any, filled: str) -> None:
    token = s3.list_objects_v2(Bucket=filled, MaxKeys=1)["NextContinuationToken"]
    page = s3.list_objects_v2(Bucket=filled, StartAfter="zzz", ContinuationToken=token, MaxKeys=1)
    assert keys_of(page) == ["a/1"]
    assert page["ContinuationToken"] == token


@pytest.mark.parametrize("token", ["%", "////", "abc"])
def test_token_that_was_never_given_is_refused(s3: Any, filled: str, token: str) -> None:
    with refused("InvalidArgument", 400):
        s3.list_objects_v2(Bucket=filled, ContinuationToken=token)


def test_key_count_counts_prefixes_too(s3: Any, filled: str) -> None:
    page = s3.list_objects_v2(Bucket=filled, Delimiter="/")
    assert page["KeyCount"] == len(keys_of(page)) + len(prefixes_of(page)) == 8


@pytest.mark.parametrize("operation", ["list_objects", "list_objects_v2"])
def test_no_keys_at_all_may_be_asked_for(s3: Any, filled: str, operation: str) -> None:
    page = getattr(s3, operation)(Bucket=filled, MaxKeys=0)
    assert (keys_of(page), page["IsTruncated"], page["MaxKeys"]) == ([], False, 0)


def test_more_than_a_thousand_keys_are_never_sent(gateway: Served, s3: Any) -> None:
    create_repos(gateway.store, "data")
    put_all(gateway.store, "data", {f"/{n}": b"" for n in range(1001)})
    page = s3.list_objects_v2(Bucket="master.data", MaxKeys=5000)
    assert (page["KeyCount"], page["MaxKeys"], page["IsTruncated"]) == (1000, 1000, True)


@pytest.mark.parametrize("number", ["-1", "a", "1.5", "%D9%A1", "99999999999"])
@pytest.mark.parametrize("version", ["", "&list-type=2"])
def test_max_keys_that_is_no_number_is_refused(gateway: Served, filled: str, number: str, version: str) -> None:
    answer = gateway.request("GET", f"/{filled}?max-keys={number}{version}")
    assert (answer.status, answer.code) == (400, "InvalidArgument")


def test_encoding_type_that_is_unknown_is_refused(gateway: Served, filled: str) -> None:
    assert gateway.request("GET", f"/{filled}?encoding-type=base64").code == "InvalidArgument"


@pytest.mark.parametrize("version", ["list_objects", "list_objects_v2"])
def test_no_key_begins_with_a_slash(s3: Any, filled: str, version: str) -> None:
    page = getattr(s3, version)(Bucket=filled, Prefix="/", Delimiter="/")
    assert (keys_of(page), prefixes_of(page)) == ([], [])


def test_names_that_xml_can_not_hold_are_encoded(gateway: Served, s3: Any, bucket: str) -> None:
    keys = ["\x01", "<&>", "a b", "a+b"]
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    text = gateway.request("GET", f"/{bucket}?encoding-type=url").body
    assert [f"<Key>{name}</Key>".encode() in text for name in ("%01", "%3C%26%3E", "a%20b", "a%2Bb")] == [True] * 4
    assert b"<Key>&lt;&amp;&gt;</Key>" in gateway.request("GET", f"/{bucket}").body


def test_plus_in_a_query_is_a_space(gateway: Served, s3: Any, bucket: str) -> None:
    for key in ("a b", "a+b"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    assert b"<Key>a b</Key>" in gateway.request("GET", f"/{bucket}?prefix=a+b").body
    assert b"<Key>a+b</Key>" in gateway.request("GET", f"/{bucket}?prefix=a%2Bb").body


def test_owner_is_sent_when_asked_for(s3: Any, filled: str) -> None:
    assert "Owner" in s3.list_objects(Bucket=filled)["Contents"][0]
    assert "Owner" not in s3.list_objects_v2(Bucket=filled)["Contents"][0]
    assert s3.list_objects_v2(Bucket=filled, FetchOwner=True)["Contents"][0]["Owner"]["DisplayName"] == "pachyderm"


def test_listing_names_what_was_asked(s3: Any, filled: str) -> None:
    page = s3.list_objects_v2(Bucket=filled, Prefix="a", Delimiter="/", MaxKeys=1)
    asked = {name: page[name] for name in ("Name", "Prefix", "Delimiter", "MaxKeys")}
    assert asked == {"Name": filled, "Prefix": "a", "Delimiter": "/", "MaxKeys": 1}


def test_prefix_is_no_pattern(s3: Any, filled: str) -> None:
    for character in string.punctuation.replace("/", "").replace(".", ""):
        assert keys_of(s3.list_objects_v2(Bucket=filled, Prefix=character)) == []


def test_listing_no_bucket(s3: Any) -> None:
    for operation in ("list_objects", "list_objects_v2"):
        with refused("NoSuchBucket", 404):
            getattr(s3, operation)(Bucket="master.data")


@pytest.mark.parametrize("version", ["list_objects", "list_objects_v2"])
@pytest.mark.parametrize("prefix", ["\n", "a b&<c>", "übung/", "+%"])
def test_prefix_comes_back_as_it_was_sent(s3: Any, bucket: str, version: str, prefix: str) -> None:
    assert getattr(s3, version)(Bucket=bucket, Prefix=prefix)["Prefix"] == prefix


def test_start_after_comes_back_on_every_page(s3: Any, filled: str) -> None:
    first = s3.list_objects_v2(Bucket=filled, StartAfter="a", MaxKeys=1)
    rest = s3.list_objects_v2(Bucket=filled, StartAfter="a", ContinuationToken=first["NextContinuationToken"])
    assert first["StartAfter"] == rest["StartAfter"] == "a"
