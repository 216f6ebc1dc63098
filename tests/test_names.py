"""The grammar of names, in Pachyderm's words."""

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance import names
from appliance.errors import ApplianceError, CommitNotFound, InvalidName, InvalidPath, InvalidRequest
from appliance.names import BucketName, Reference, Revision

COMMIT = "0123456789ab4def8123456789abcdef"
PARSERS: list[Callable[[str], object]] = [
    names.parse_revision,
    names.parse_reference,
    names.parse_bucket,
    names.check_path,
    lambda text: names.check_path(text, strict=True),
    lambda text: names.check_name("repo", text),
]
TYPED = st.text(st.sampled_from("amz09_-./@:=^~é٣\n \0\ud800"), max_size=20)


def test_commit_ids_are_uuid4_without_dashes() -> None:
    assert names.is_commit_id(names.new_commit_id())
    assert names.is_commit_id(COMMIT)


@pytest.mark.parametrize("text", ["", "master", COMMIT.upper(), COMMIT[:-1], COMMIT + "0", "0" * 32, COMMIT + "\n"])
def test_other_text_is_no_commit_id(text: str) -> None:
    assert not names.is_commit_id(text)


def test_wrong_name_is_refused_in_pachyderms_words() -> None:
    with pytest.raises(InvalidName) as caught:
        names.check_name("repo", "a.b")
    assert "name (a.b) invalid: only alphanumeric characters, underscores, and dashes are allowed" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("master", Revision("master")),
        ("master^", Revision("master", back=1)),
        ("master~", Revision("master", back=1)),
        ("master^^^", Revision("master", back=3)),
        ("master~~", Revision("master", back=2)),
        ("master^12", Revision("master", back=12)),
        ("master~3", Revision("master", back=3)),
        ("master^0", Revision("master")),
        ("master.1", Revision("master", from_root=1)),
        ("master.3^2", Revision("master", back=2, from_root=3)),
        (f"{COMMIT}^", Revision(COMMIT, back=1)),
    ],
)
def test_revision(text: str, expected: Revision) -> None:
    assert names.parse_revision(text) == expected


@pytest.mark.parametrize(
    ("text", "marker", "other"),
    [("master^~", "^", "~"), ("master~^", "~", "^"), ("master~who", "~", "w"), ("m^^3", "^", "3"), ("m~٣", "~", "٣")],
)
def test_mixed_ancestry_is_refused_in_pachyderms_words(text: str, marker: str, other: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        names.parse_revision(text)
    assert str(caught.value) == f'invalid ancestry syntax "{text}", cannot mix {marker} and {other} characters'


@pytest.mark.parametrize("text", ["", "^", ".1", "a b", "master.", "master.x", "master.٣", "a/b"])
def test_revision_without_a_branch_name_is_refused(text: str) -> None:
    with pytest.raises(InvalidName):
        names.parse_revision(text)


@pytest.mark.parametrize("text", ["master^" + "9" * 5000, "master." + "9" * 5000])
def test_ancestor_beyond_counting_is_not_found(text: str) -> None:
    with pytest.raises(CommitNotFound):
        names.parse_revision(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("images", Reference("images", "master")),
        ("images@", Reference("images", "master")),
        ("images@dev", Reference("images", "dev")),
        (f"images@{COMMIT}^", Reference("images", f"{COMMIT}^")),
        (f"images@dev={COMMIT}", Reference("images", COMMIT)),
        ("images:/a", Reference("images", "master", "/a")),
        ("images@dev:", Reference("images", "dev", "/")),
        ("images@dev:a//b", Reference("images", "dev", "/a/b")),
        ("images@dev:/a/", Reference("images", "dev", "/a/")),
        ("images@dev:/a:b@c", Reference("images", "dev", "/a:b@c")),
        ("images@dev:///", Reference("images", "dev", "/")),
    ],
)
def test_reference(text: str, expected: Reference) -> None:
    assert names.parse_reference(text) == expected


def test_reference_to_no_commit_of_a_branch_does_not_mean_another_branch() -> None:
    assert names.parse_reference("images@dev=").revision == "dev"


@pytest.mark.parametrize("text", ["", "@master", ":/a"])
def test_reference_without_a_repo_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match=rf'^invalid format "{text}": repo cannot be empty$'):
        names.parse_reference(text)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("images", BucketName("images")),
        ("dev.images", BucketName("images", "dev")),
        (f"{COMMIT}.images", BucketName("images", "master", names.CommitId(COMMIT))),
        (f"{COMMIT}.dev.images", BucketName("images", "dev", names.CommitId(COMMIT))),
        (COMMIT, BucketName(COMMIT)),
        (f"dev.{COMMIT}", BucketName(COMMIT, "dev")),
    ],
)
def test_bucket(name: str, expected: BucketName) -> None:
    assert names.parse_bucket(name) == expected


@pytest.mark.parametrize("name", ["", ".", "a.b.c", f"{COMMIT}.a.b.c", f"{COMMIT}.", "dev.", ".images", "a b", "é.a"])
def test_other_text_is_no_bucket(name: str) -> None:
    with pytest.raises(InvalidName, match="invalid bucket name"):
        names.parse_bucket(name)


@pytest.mark.parametrize("path", ["/a", "/a/", "/a b/c", "/ä", "/*", "/a/" + "x" * 255, "/...", "/\n"])
def test_path_that_a_file_can_have(path: str) -> None:
    assert names.check_path(path) == path


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/", "empty path elements"),
        ("", "empty path elements"),
        ("a", "empty path elements"),
        ("/a//b", "empty path elements"),
        ("/a//", "empty path elements"),
        ("/./a", "path (/./a) invalid: relative file paths are not allowed"),
        ("/a/../", "path (/a/../) invalid: relative file paths are not allowed"),
        ("/\0", "NUL"),
        ("/\ud800", "not UTF-8"),
        ("/" + "ä" * 128, "255"),
        ("/a" * 2048 + "a", "4095"),
    ],
)
def test_path_that_no_file_can_have(path: str, text: str) -> None:
    with pytest.raises(InvalidPath) as caught:
        names.check_path(path)
    assert text in str(caught.value)


@pytest.mark.parametrize("character", "*?[]{}!()@+^")
def test_strict_path_has_no_glob_characters(character: str) -> None:
    with pytest.raises(InvalidPath) as caught:
        names.check_path(f"/a{character}", strict=True)
    assert str(caught.value) == f"path (/a{character}) invalid: globbing character ({character}) not allowed in path"


@pytest.mark.parametrize("path", ["/ä", "/\t", "/\x7f"])
def test_strict_path_is_printable_ascii(path: str) -> None:
    with pytest.raises(InvalidPath) as caught:
        names.check_path(path, strict=True)
    assert str(caught.value) == f"path ({path}) invalid: only printable ASCII characters allowed"


def test_parents_are_outermost_first() -> None:
    assert names.parents("/a/b/c") == ["/a", "/a/b"]
    assert names.parents("/a/b/") == ["/a"]
    assert names.parents("/a") == []


@given(text=TYPED)
def test_clean_path_is_idempotent_and_rooted(text: str) -> None:
    cleaned = names.clean_path(text)
    assert names.clean_path(cleaned) == cleaned
    assert cleaned == "/" or (cleaned.startswith("/") and not cleaned.endswith("/") and "//" not in cleaned)


@given(text=st.one_of(TYPED, st.text(st.characters(), max_size=40)), parse=st.sampled_from(PARSERS))
def test_parsers_raise_nothing_but_our_errors(text: str, parse: Callable[[str], object]) -> None:
    with contextlib.suppress(ApplianceError):
        parse(text)


@given(repo=st.from_regex(r"[a-zA-Z0-9_-]{1,9}", fullmatch=True), branch=st.from_regex(r"[a-zA-Z0-9_-]{1,9}", fullmatch=True))
def test_bucket_of_any_branch_names_that_branch(repo: str, branch: str) -> None:
    assert names.parse_bucket(f"{branch}.{repo}") == BucketName(repo, branch)
