from dataclasses import replace

import pytest

from appliance.errors import InvalidRequest
from appliance.external.urls import join_key, parse_url, relative_key


@pytest.mark.parametrize(
    ("text", "provider", "bucket", "key"),
    [
        ("s3://bucket/dir/a.csv", "amazon", "bucket", "dir/a.csv"),
        ("s3://bucket", "amazon", "bucket", ""),
        ("s3://bucket//dir/", "amazon", "bucket", "dir"),
        ("S3://bucket/Key", "amazon", "bucket", "Key"),
        ("s3://b.master.repo/k", "amazon", "b.master.repo", "k"),
        ("gs://bucket/key", "google", "bucket", "key"),
        ("gcs://bucket/key", "google", "bucket", "key"),
        ("azblob://container/key", "microsoft", "container", "key"),
        ("minio://127.0.0.1:9000/bucket/dir/key", "amazon", "bucket", "dir/key"),
        ("https://example.org/dir/a%20b.csv", "http", "example.org", "dir/a b.csv"),
    ],
)
def test_every_scheme_gives_provider_bucket_and_key(text: str, provider: str, bucket: str, key: str) -> None:
    url = parse_url(text)
    assert (url.provider, url.bucket, url.key, url.text) == (provider, bucket, key, text)


@pytest.mark.parametrize(
    "text",
    [
        "wasb://container@account.blob.core.windows.net/dir/key",
        "wasb://container@account/dir/key",
        "wasb://account/container/dir/key",
        "as://account/container/dir/key",
    ],
)
def test_azure_has_account_and_container_in_both_orders(text: str) -> None:
    url = parse_url(text)
    assert (url.provider, url.account, url.bucket, url.key) == ("microsoft", "account", "container", "dir/key")


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ("a+b.csv", "a+b.csv"),
        ("a%20b%3Fc%25.csv", "a b?c%.csv"),
        ("a b.csv", "a b.csv"),
        ("données/é.csv", "données/é.csv"),
        ("a#b*[c].csv", "a#b*[c].csv"),
    ],
)
def test_keys_are_percent_decoded_and_else_literal(written: str, key: str) -> None:
    assert parse_url(f"s3://bucket/{written}").key == key


def test_options_follow_the_question_mark() -> None:
    url = parse_url("s3://bucket/key?endpoint=https://s3.example.org:9000/&region=eu-west-1&profile=lab")
    assert (url.endpoint, url.region, url.profile) == ("https://s3.example.org:9000", "eu-west-1", "lab")
    assert url.key == "key"


@pytest.mark.parametrize(
    ("query", "endpoint"),
    [
        ("endpoint=store:9000", "https://store:9000"),
        ("endpoint=store:9000&disableSSL=true", "http://store:9000"),
        ("endpoint=http://store:9000", "http://store:9000"),
        ("endpoint=HTTP://Store:9000/S3/", "http://store:9000/S3"),
    ],
)
def test_endpoint_without_scheme_means_https_unless_tls_is_disabled(query: str, endpoint: str) -> None:
    assert parse_url(f"s3://bucket/key?{query}").endpoint == endpoint


def test_minio_is_an_endpoint_without_tls_by_default() -> None:
    assert parse_url("minio://store:9000/bucket/key").endpoint == "http://store:9000"
    assert parse_url("minio://store:9000/bucket/key?disableSSL=false").endpoint == "https://store:9000"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ftp://host/key", "unrecognized object store: ftp"),
        ("bucket/key", "error parsing url bucket/key"),
        ("s3://[bucket/key", "error parsing url s3://[bucket/key"),
        ("s3://bucket/100%", "error parsing url s3://bucket/100%: write %25"),
        ("s3://bucket/%ff", "error parsing url s3://bucket/%ff: not UTF-8"),
        ("s3://bucket/a\nb", "error parsing url 's3://bucket/a\\nb'"),
        ("wasb://account", "malformed Azure URI: wasb://account"),
        ("s3:///key", 'could not parse bucket "" from url'),
        ("s3://a b/key", 'could not parse bucket "a b" from url'),
        ("minio://host:9000", 'could not parse bucket "" from url'),
        ("s3://bucket/key?endpoint=ftp://host", "malformed endpoint: ftp://host"),
        ("s3://bucket/key?endpoint=host:65536", "malformed endpoint: host:65536"),
        ("s3://bucket/key?region=a%20b", "malformed region: 'a b'"),
        ("s3://bucket/key?speed=fast", 'unknown query parameter "speed" in s3://bucket/key'),
        ("s3://bucket/key?disableSSL=perhaps", "disableSSL is true or false"),
    ],
)
def test_what_is_no_address_is_refused_in_words(text: str, message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_url(text)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("text", ["file:///data/a%20b.csv", "local:///data/a%20b.csv", "file://localhost/data/a%20b.csv"])
def test_a_file_of_this_machine_has_an_absolute_path(text: str) -> None:
    url = parse_url(text)
    assert (url.provider, url.key) == ("disk", "data/a b.csv")


@pytest.mark.parametrize("text", ["file://host/data", "file:data", "file:///data?profile=x"])
def test_another_machines_files_are_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="error parsing url"):
        parse_url(text)


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket/a%20b",
        "s3://bucket/a%25%2B?endpoint=http://store:9000",
        "gs://bucket/d%C3%A9/x",
        "wasb://container@account/key",
        "wasb://container@account/key?endpoint=http://127.0.0.1:10000/account",
    ],
)
def test_the_address_of_an_object_leads_back_to_it(text: str) -> None:
    url = parse_url(text)
    assert parse_url(url.address(url.key)) == replace(url, text=url.address(url.key))


@pytest.mark.parametrize(
    "text",
    [
        "s3://AKIA:hunter2@bucket/key",
        "s3://bucket/key?secret_access_key=hunter2",
        "s3://bucket/key?endpoint=http://me:hunter2@host",
        "wasb://container:hunter2@account/key",
        "s3://me:hunter2@[bucket/key",
        "ftp://me:hunter2@host/key",
    ],
)
def test_an_error_repeats_no_secret(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_url(text)
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in str(caught.value.__cause__)


def test_an_address_with_password_and_signature_is_shown_without_them() -> None:
    url = parse_url("https://me:hunter2@example.org/a.csv?signature=hunter2")
    assert url.text == "https://example.org/a.csv"
    assert "hunter2" not in repr(url)


@pytest.mark.parametrize(
    ("prefix", "key", "relative"),
    [
        ("dir", "dir/x", "x"),
        ("dir/", "dir/x/y", "x/y"),
        ("dir", "dir2/x", None),
        ("dir", "dir", None),
        ("dir", "dir/", None),
        ("", "a/b", "a/b"),
        ("", "", None),
    ],
)
def test_a_prefix_ends_where_a_directory_ends(prefix: str, key: str, relative: str | None) -> None:
    assert relative_key(prefix, key) == relative


def test_keys_are_joined_with_one_slash() -> None:
    assert join_key("dir/", "/a/b") == "dir/a/b"
    assert join_key("", "/a") == "a"
    assert join_key("dir", "") == "dir"
