"""Datums: which ones an input makes, what identifies them, and what their code is told."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import blake2b
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.globs import compile_glob
from appliance.pipelines.combining import iter_datums
from appliance.pipelines.datums import Datum, Match, datum_environment
from appliance.pipelines.spec import CronInput, Input, PfsInput
from appliance.store.spool import open_spool

DIGEST = "ab" * 32
COMMITS = {(name, "master"): f"{name}-commit" for name in "abcd"}


def leaf(name: str, glob: str = "/*", **fields: Any) -> Input:
    return Input(pfs=PfsInput(repo=name, name=name, branch="master", glob=glob, **fields))


def files(**paths: str) -> Callable[[PfsInput], Iterator[Match]]:
    """Answer globs over repos of files; a file's name makes its digest."""

    def matches(asked: PfsInput) -> Iterator[Match]:
        glob = compile_glob(asked.glob)
        for path in paths[asked.repo].split():
            if (captures := glob.match(path)) is not None:
                digest = blake2b(path.encode(), digest_size=32).hexdigest()
                yield Match(path, digest, size_bytes=1, is_dir=False, captures=captures)

    return matches


def datums(tree: Input, *, commits: Mapping[tuple[str, str], str] = COMMITS, salt: str = "salt", **paths: str) -> list[Datum]:
    with open_spool() as spool:
        return list(iter_datums(tree, files(**paths), commits, spool, salt=salt))


def rows(tree: Input, **paths: str) -> list[str]:
    """The datums of an input, each as `name:path …`."""
    return [" ".join(f"{item.name}:{item.path}" for item in datum.inputs) for datum in datums(tree, **paths)]


class TestInputs:
    def test_every_match_is_a_datum(self) -> None:
        assert rows(leaf("a"), a="/1 /2") == ["a:/1", "a:/2"]

    def test_nothing_matched_is_no_datum(self) -> None:
        assert rows(leaf("a"), a="") == []

    def test_input_without_commit_has_no_datum(self) -> None:
        assert datums(leaf("a"), commits={}, a="/1") == []

    def test_cross_is_the_product_in_order_of_names(self) -> None:
        assert rows(Input(cross=(leaf("b"), leaf("a"))), a="/1 /2", b="/3 /4") == [
            "a:/1 b:/3",
            "a:/1 b:/4",
            "a:/2 b:/3",
            "a:/2 b:/4",
        ]

    def test_cross_with_an_empty_member_is_empty(self) -> None:
        assert rows(Input(cross=(leaf("a"), leaf("b"))), a="/1", b="") == []

    def test_cross_in_a_cross_is_one_cross(self) -> None:
        tree = Input(cross=(leaf("b"), Input(cross=(leaf("a"), leaf("c")))))
        assert rows(tree, a="/1", b="/2", c="/3") == ["a:/1 c:/3 b:/2"]

    def test_product_of_a_cross_is_not_held(self) -> None:
        many = [Match(f"/{n}", DIGEST, 1, is_dir=False) for n in range(2000)]
        tree = Input(cross=(leaf("a"), leaf("b"), Input(cross=(leaf("c"), leaf("d")))))
        with open_spool() as spool:
            found = iter_datums(tree, lambda _: many, COMMITS, spool, salt="")
            assert len(list(itertools.islice(found, 3))) == 3

    def test_union_is_one_after_the_other(self) -> None:
        assert rows(Input(union=(leaf("b"), leaf("a"))), a="/1", b="/2") == ["a:/1", "b:/2"]

    def test_datum_of_two_members_of_a_union_is_one(self) -> None:
        assert rows(Input(union=(leaf("a", "/*"), leaf("a", "/1"))), a="/1 /2") == ["a:/1", "a:/2"]

    def test_join_takes_equal_keys(self) -> None:
        tree = Input(join=(leaf("a", "/(*)-*", join_on="$1"), leaf("b", "/(*)", join_on="$1")))
        assert rows(tree, a="/x-1 /x-2 /y-1", b="/x /z") == ["a:/x-1 b:/x", "a:/x-2 b:/x"]

    def test_outer_join_keeps_what_has_no_counterpart(self) -> None:
        tree = Input(join=(leaf("a", "/(*)", join_on="$1", outer_join=True), leaf("b", "/(*)", join_on="$1")))
        assert rows(tree, a="/x /y", b="/x /z") == ["a:/x b:/x", "a:/y"]

    def test_group_is_all_files_of_a_key(self) -> None:
        tree = Input(group=(leaf("a", "/(*)-*", group_by="$1"), leaf("b", "/(*)", group_by="$1")))
        assert rows(tree, a="/x-1 /x-2 /y-1", b="/x /z") == ["a:/x-1 a:/x-2 b:/x", "a:/y-1", "b:/z"]

    def test_join_in_a_join_is_taken_apart(self) -> None:
        """Each file counts once, however many rows of the inner join have it."""
        inner = Input(join=(leaf("b", "/(*)-*", join_on="$1"), leaf("c", "/(*)-*", join_on="$1")))
        tree = Input(join=(leaf("a", "/(*)", join_on="$1"), inner))
        assert rows(tree, a="/x", b="/x-1 /x-2", c="/x-3") == ["a:/x b:/x-1", "a:/x c:/x-3", "a:/x b:/x-2"]

    def test_keys_are_in_order_whatever_the_order_of_files(self) -> None:
        tree = Input(join=(leaf("a", "/*-(*)", join_on="$1"), leaf("b", "/(*)", join_on="$1")))
        assert rows(tree, a="/1-z /2-y /3-é /4-y", b="/y /z /é") == [
            "a:/2-y b:/y",
            "a:/4-y b:/y",
            "a:/1-z b:/z",
            "a:/3-é b:/é",
        ]

    def test_key_of_more_files_than_are_held_is_joined_as_any(self) -> None:
        many = [f"/{n:04}" for n in range(1500)]
        tree = Input(join=(leaf("a", join_on="same"), leaf("b", join_on="same")))
        expected = [f"a:/{n} b:{path}" for n in "12" for path in many]
        assert rows(tree, a="/1 /2", b=" ".join(many)) == expected

    def test_key_of_more_files_than_are_held_is_kept_by_an_outer_join(self) -> None:
        many = [f"/{n:04}" for n in range(1500)]
        tree = Input(join=(leaf("a", join_on="same", outer_join=True), leaf("b", join_on="same")))
        assert rows(tree, a=" ".join(many), b="") == [f"a:{path}" for path in many]

    def test_key_of_more_files_than_are_held_is_one_group(self) -> None:
        many = [f"/{n:04}" for n in range(1500)]
        assert rows(Input(group=(leaf("a"), leaf("b"))), a=" ".join(many), b="/1") == [
            " ".join([*(f"a:{path}" for path in many), "b:/1"])
        ]

    def test_join_below_a_cross_is_a_factor(self) -> None:
        join = Input(join=(leaf("b", "/(*)", join_on="$1"), leaf("c", "/(*)", join_on="$1")))
        assert rows(Input(cross=(join, leaf("a"))), a="/1 /2", b="/x", c="/x") == ["a:/1 b:/x c:/x", "a:/2 b:/x c:/x"]

    def test_tick_of_a_cron_input_is_a_datum(self) -> None:
        tree = Input(cron=CronInput(name="a", spec="@daily", repo="a"))
        assert rows(tree, a="/2020-01-01T00:00:00Z") == ["a:/2020-01-01T00:00:00Z"]

    @settings(deadline=None)
    @given(st.lists(st.integers(0, 4), min_size=1, max_size=4))
    def test_cross_has_as_many_datums_as_the_product_says(self, sizes: list[int]) -> None:
        members = tuple(leaf(name) for name, _ in zip("abcd", sizes, strict=False))
        paths = {name: " ".join(f"/{n}" for n in range(size)) for name, size in zip("abcd", sizes, strict=False)}
        expected = 1
        for size in sizes:
            expected *= size
        assert len({datum.id for datum in datums(Input(cross=members), **paths)}) == expected


def one(*, salt: str = "salt", digest: str = DIGEST, is_dir: bool = False, path: str = "/x", **fields: Any) -> Datum:
    match = Match(path, digest, size_bytes=1, is_dir=is_dir)
    with open_spool() as spool:
        (datum,) = iter_datums(leaf("a", **fields), lambda _: [match], COMMITS, spool, salt=salt)
    return datum


class TestIdentity:
    def test_id_is_that_of_pachyderm(self) -> None:
        parts: Iterable[bytes] = (b"a", b"a", b"master", b"/x")
        data = b"".join(part + len(part).to_bytes(8, "big") for part in parts)
        assert one().id == blake2b(data, digest_size=32).hexdigest()

    def test_hash_is_that_of_pachyderm(self) -> None:
        data = one().id.encode() + bytes.fromhex(DIGEST) + b"salt"
        assert one().hash == blake2b(data, digest_size=32).hexdigest()

    def test_content_changes_the_hash(self) -> None:
        assert one(digest="00" * 32).hash != one().hash

    def test_content_does_not_change_the_id(self) -> None:
        assert one(digest="00" * 32).id == one().id

    def test_salt_changes_the_hash(self) -> None:
        assert one(salt="other").hash != one().hash

    def test_content_of_a_reference_does_not_change_the_hash(self) -> None:
        assert one(digest="00" * 32, reference=True).hash == one(reference=True).hash

    def test_directory_and_file_of_one_path_differ(self) -> None:
        assert one(is_dir=True).id != one().id

    def test_names_and_paths_do_not_run_into_each_other(self) -> None:
        ids = [datums(leaf("a"), a=paths)[0].id for paths in ("/xy", "/x")]
        assert len(set(ids)) == 2

    def test_commit_does_not_change_the_hash(self) -> None:
        moved, kept = (datums(leaf("a"), commits={("a", "master"): commit}, a="/1")[0] for commit in ("c1", "c2"))
        assert moved.hash == kept.hash


class TestEnvironment:
    def test_code_is_told_of_its_datum(self) -> None:
        datum = one(path="/dir/x")
        assert datum_environment(datum, job_id="j", output_commit="o") == {
            "a": "/pfs/a/dir/x",
            "a_COMMIT": "a-commit",
            "PACH_DATUM_ID": datum.id,
            "PACH_JOB_ID": "j",
            "PACH_OUTPUT_COMMIT_ID": "o",
        }

    def test_whole_repo_is_its_directory(self) -> None:
        assert datum_environment(one(path="/", is_dir=True), job_id="", output_commit="")["a"] == "/pfs/a"

    def test_last_of_several_files_of_an_input_counts(self) -> None:
        (datum,) = datums(Input(group=(leaf("a"),)), a="/1 /2")
        assert datum_environment(datum, job_id="", output_commit="")["a"] == "/pfs/a/2"

    @pytest.mark.parametrize(
        ("field", "variable"), [("join_on", "PACH_DATUM_a_JOIN_ON"), ("group_by", "PACH_DATUM_a_GROUP_BY")]
    )
    def test_code_is_told_of_its_key(self, field: str, variable: str) -> None:
        (datum,) = datums(leaf("a", "/(*)-(*)", **{field: "$2.$1"}), a="/x-y")
        assert datum_environment(datum, job_id="", output_commit="")[variable] == "y.x"
