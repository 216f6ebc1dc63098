"""The repo `<pipeline>.meta`: what the datums of each job saw, wrote and came to, made up from their rows."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from store.helpers import (
    commit_of,
    create_repos,
    derive,
    fork,
    put,
    put_all,
    read,
    tree,
    waiting,
    write_output,
)

from appliance.errors import Conflict, InvalidName, OutputBranch
from appliance.names import CommitId
from appliance.store import (
    Db,
    Store,
    commits,
    completing,
    datums,
    files,
    history,
    listings,
    pipelines,
    repos,
    running,
    snapshots,
    squash,
)
from appliance.store.datums import NewDatum
from appliance.store.jobs import Job


def given(repo: str, commit: str, path: str, **other: Any) -> dict[str, Any]:
    """Return an input of a datum as its row keeps it."""
    plain = {"name": repo, "repo": repo, "branch": "master", "commit": commit, "path": path, "digest": "ab" * 32}
    flags = dict.fromkeys(("is_dir", "s3", "outer_join", "reference", "empty_files"), False)
    return {**plain, "size_bytes": 1, "join_on": "", "group_by": "", **flags, **other}


@dataclass(frozen=True)
class Line:
    """A pipeline `edges` over `images` whose jobs are run by hand. Datums are told apart by the first byte of their id."""

    store: Store

    def run(self, ran: Mapping[int, Sequence[dict[str, Any]]], *, state: str = "success", hashed: str = "") -> Job:
        """Run the next job to its end, each datum writing its number into a file."""
        row = waiting(self.store, "edges").row

        def begin(db: Db) -> Job:
            new = [NewDatum(_id(n), _id(n) + hashed.encode(), json.dumps(list(inputs)).encode()) for n, inputs in ran.items()]
            datums.add_datums(db, running.begin_job(db, row), 0, new, skip=True)
            return running.run_job(db, row)

        job = self.store.write(begin)
        with self.store.snapshot() as db:
            to_run = list(datums.iter_datums(db, job.row, state="waiting"))
        for stored in to_run:
            self.store.write(lambda db, stored=stored: datums.start_try(db, stored.row))
            write_output(self.store, stored.row, f"/{int(stored.id[:2], 16)}", b"out")
            reason = "" if state == "success" else "it broke"
            self.store.write(lambda db, stored=stored, reason=reason: datums.finish_datum(db, stored, state, reason))
        if state == "failed":
            self.store.write(lambda db: running.fail_job(db, row, "failure", "a datum failed"))
        else:
            completing.complete_job(self.store, row)
        return job

    def account(self, number: int, revision: str = "master") -> Any:
        """Return what the repo says of a datum."""
        return json.loads(read(self.store, "edges.meta", revision, f"/meta/{_id(number).hex()}/meta"))


def _id(number: int) -> bytes:
    return bytes([number]) * 32


@pytest.fixture
def line(store: Store) -> Line:
    create_repos(store, "images")
    new = pipelines.NewPipeline("edges", b"{}", "", "master", [("images", "master")], "salt")
    store.write(lambda db: pipelines.create_pipeline(db, new))
    made = Line(store)
    made.run({})
    return made


def children(store: Store, path: str, revision: str = "master") -> list[str]:
    with store.snapshot() as db:
        snapshot = snapshots.open_revision(db, "edges.meta", revision)
        return [child.name for child in listings.iter_children(db, snapshot, path)]


def test_datum_shows_what_it_was_given_and_wrote(line: Line) -> None:
    commit = put_all(line.store, "images", {"/d/a": b"1", "/d/b": b"2", "/e": b"3"})
    line.run({1: [given("images", commit, "/d", is_dir=True)], 2: [given("images", commit, "/e")]})
    shown = tree(line.store, "edges.meta")
    one, two = _id(1).hex(), _id(2).hex()
    assert {path: data for path, data in shown.items() if path.startswith("/pfs/")} == {
        f"/pfs/{one}/images/d/a": b"1",
        f"/pfs/{one}/images/d/b": b"2",
        f"/pfs/{one}/out/1": b"out",
        f"/pfs/{two}/images/e": b"3",
        f"/pfs/{two}/out/2": b"out",
    }
    assert [path for path in shown if path.startswith("/meta/")] == [f"/meta/{one}/meta", f"/meta/{two}/meta"]


def test_account_of_a_datum_has_its_job_inputs_state_and_sizes(line: Line) -> None:
    commit = put(line.store, "images", "/a", b"1")
    job = line.run({1: [given("images", commit, "/a", join_on="k")]})
    account = line.account(1)
    assert account["job"] == {"pipeline": {"name": "edges"}, "id": job.id}
    assert (account["state"], account["index"]) == ("PROCESSED", "0")
    assert (account["stats"]["downloadBytes"], account["stats"]["uploadBytes"]) == ("1", "3")
    (found,) = account["inputs"]
    branch = {"repo": {"name": "images", "type": "user"}, "name": "master"}
    assert found["fileInfo"]["file"] == {"commit": {"branch": branch, "id": commit}, "path": "/a"}
    assert (found["name"], found["joinOn"]) == ("images", "k")


def test_skipped_datum_has_the_account_of_the_one_it_was_skipped_for(line: Line) -> None:
    old = put(line.store, "images", "/a", b"1")
    first = line.run({1: [given("images", old, "/a")]})
    new = put(line.store, "images", "/b", b"2")
    line.run({1: [given("images", new, "/a")], 2: [given("images", new, "/b")]})
    assert [line.account(1)["job"]["id"], line.account(2)["job"]["id"]] == [first.id, new]
    assert read(line.store, "edges.meta", "master", f"/pfs/{_id(1).hex()}/out/1") == b"out"


def test_failed_job_is_seen_by_its_id_and_the_branch_shows_the_one_before(line: Line) -> None:
    good = put(line.store, "images", "/a", b"1")
    line.run({1: [given("images", good, "/a")]})
    bad = put(line.store, "images", "/b", b"2")
    line.run({2: [given("images", bad, "/b")]}, state="failed")
    assert line.account(2, bad)["state"] == "FAILED"
    assert line.account(2, bad)["reason"] == "it broke"
    assert list(tree(line.store, "edges.meta", bad)) == [f"/meta/{_id(2).hex()}/meta", f"/pfs/{_id(2).hex()}/images/b"]
    assert children(line.store, "/meta") == [_id(1).hex()]


def test_commit_can_not_be_read_before_its_job_has_ended(line: Line) -> None:
    commit = put(line.store, "images", "/a", b"1")
    with pytest.raises(Conflict, match=r"output commit edges\.meta@.* not finished"):
        tree(line.store, "edges.meta", commit)
    line.run({})


def test_inputs_of_one_name_are_shown_together_and_once(line: Line) -> None:
    commit = put_all(line.store, "images", {"/a": b"1", "/b": b"2", "/c": b"3"})
    inputs = [given("images", commit, path) for path in ("/b", "/a", "/b")] + [given("images", commit, "/c", name="images-2")]
    line.run({1: inputs})
    base = f"/pfs/{_id(1).hex()}"
    shown = [path.removeprefix(base) for path in tree(line.store, "edges.meta") if path.startswith("/pfs")]
    assert shown == ["/images-2/c", "/images/a", "/images/b", "/out/1"]


def test_files_given_by_name_only_are_empty_and_s3_inputs_have_none(line: Line) -> None:
    commit = put_all(line.store, "images", {"/a": b"1"})
    inputs = [given("images", commit, "/a", empty_files=True), given("images", commit, "/", name="s3", is_dir=True, s3=True)]
    line.run({1: inputs})
    shown = tree(line.store, "edges.meta")
    base = f"/pfs/{_id(1).hex()}"
    assert {path: data for path, data in shown.items() if path.startswith("/pfs")} == {
        f"{base}/images/a": b"",
        f"{base}/out/1": b"out",
    }


_DATUM = "88" * 32
_TOPS = ["", "/", "/meta", "/meta/", "/n", "/pfs/", "/q"]
_IDS = [f"/meta/{text}" for text in ("0", "3!", "7A", "7z", "\U0010ffff", _DATUM)]
_FILES = ["/pfs/77", *(f"/pfs/{_DATUM}/{rest}" for rest in ("images/a", "images/\U0010ffff", "p"))]


@pytest.mark.parametrize("start", [*_TOPS, *_IDS, *_FILES])
def test_listing_from_anywhere_is_the_rest_of_the_whole(line: Line, start: str) -> None:
    commit = put_all(line.store, "images", {"/a": b"1", "/b/c": b"2"})
    inputs = [given("images", commit, "/a"), given("images", commit, "/b", is_dir=True)]
    line.run(dict.fromkeys((0, 119, 136, 160, 255), inputs))
    with line.store.snapshot() as db:
        snapshot = snapshots.open_revision(db, "edges.meta", "master")
        whole = [entry.path for entry in snapshots.iter_entries(db, snapshot)]
        assert whole == sorted(whole)
        assert [entry.path for entry in snapshots.Scan(db, snapshot, start)] == [path for path in whole if path >= start]
        assert all(snapshots.get_file(db, snapshot, path).path == path for path in whole)


def test_pages_with_a_delimiter_roll_datums_up(line: Line) -> None:
    commit = put(line.store, "images", "/a", b"1")
    line.run({number: [given("images", commit, "/a")] for number in range(5)})
    with line.store.snapshot() as db:
        snapshot = snapshots.open_revision(db, "edges.meta", "master")
        top = listings.list_page(db, snapshot, prefix="/", delimiter="/", after=None, limit=10)
        page = listings.list_page(db, snapshot, prefix="/pfs/", delimiter="/", after=None, limit=2)
        rest = listings.list_page(db, snapshot, prefix="/pfs/", delimiter="/", after=page.last, limit=10)
    assert top.items == ("/meta/", "/pfs/")
    assert page.items + rest.items == tuple(f"/pfs/{_id(number).hex()}/" for number in range(5))


def test_each_commit_set_has_it_and_it_takes_no_space(line: Line) -> None:
    commit = put(line.store, "images", "/a", b"1")
    line.run({1: [given("images", commit, "/a")]})
    with line.store.snapshot() as db:
        assert [found.repo for found in commits.list_set(db, CommitId(commit))] == ["images", "edges", "edges.meta"]
        assert db.value("SELECT count(*) FROM entries e JOIN lines l ON l.id = e.line_id JOIN repos r ON r.id = l.repo_id"
                        " WHERE r.name = 'edges.meta'") == 0  # fmt: skip
        provenance = commits.list_provenance(db, commits.get_commit(db, "edges.meta", commit))
    assert [(found.repo, found.id) for found in provenance] == [("images", commit)]


def test_nobody_can_write_to_it(line: Line) -> None:
    store = line.store
    with pytest.raises(OutputBranch, match=r"repo edges\.meta can not be changed"):
        put(store, "edges.meta", "/a", b"1")
    with pytest.raises(OutputBranch):
        put(store, "edges.meta", "/a", b"1", "dev")
    with pytest.raises(OutputBranch):
        fork(store, "edges.meta", "dev", head="master")
    with pytest.raises(OutputBranch):
        store.write(lambda db: repos.delete_branch(db, "edges.meta", "master", force=True))
    with pytest.raises(Conflict, match="delete the pipeline instead"):
        store.write(lambda db: repos.delete_repo(db, "edges.meta", force=True))
    with pytest.raises(OutputBranch):
        store.write(lambda db: squash.drop_commit(db, "edges.meta", "master"))
    with pytest.raises(InvalidName):
        create_repos(store, "mine.meta")


def test_it_goes_with_its_pipeline_also_where_the_output_is_kept(line: Line) -> None:
    line.store.write(lambda db: pipelines.delete_pipeline(db, "edges", keep_repo=True))
    with line.store.snapshot() as db:
        assert [repos.exists(db, name) for name in ("edges", "edges.meta")] == [True, False]


def test_pipeline_that_is_read_through_it_can_not_be_deleted(line: Line) -> None:
    create_repos(line.store, "report")
    derive(line.store, "report", "edges.meta")
    with pytest.raises(Conflict, match=r"cannot delete repo edges\.meta: branch report@master depends on it"):
        line.store.write(lambda db: pipelines.delete_pipeline(db, "edges"))


def test_deleted_job_shows_nothing(line: Line) -> None:
    commit = put(line.store, "images", "/a", b"1")
    job = line.run({1: [given("images", commit, "/a")]})
    line.store.write(lambda db: running.delete_job(db, job.row))
    assert tree(line.store, "edges.meta", commit) == {}


def test_dropping_an_output_commit_takes_it_along(line: Line) -> None:
    commit = put(line.store, "images", "/a", b"1")
    line.run({1: [given("images", commit, "/a")]})
    line.store.write(lambda db: squash.drop_commit(db, "edges", commit))
    with line.store.snapshot() as db:
        assert [found.repo for found in commits.list_set(db, CommitId(commit))] == ["images"]


def test_squashed_set_leaves_what_later_jobs_show(line: Line) -> None:
    old = put(line.store, "images", "/a", b"1")
    line.run({1: [given("images", old, "/a")]})
    new = put(line.store, "images", "/b", b"2")
    line.run({1: [given("images", new, "/a")], 2: [given("images", new, "/b")]})
    line.store.write(lambda db: squash.squash_set(db, CommitId(old)))
    assert children(line.store, "/pfs") == [_id(1).hex(), _id(2).hex()]
    assert read(line.store, "edges.meta", "master", f"/pfs/{_id(1).hex()}/out/1") == b"out"


def test_what_it_shows_can_be_copied(line: Line) -> None:
    commit = put(line.store, "images", "/a", b"1")
    line.run({1: [given("images", commit, "/a")]})
    create_repos(line.store, "kept")

    def copy(db: Db) -> None:
        writing = history.begin_write(db, "kept", "master")
        files.copy_tree(db, snapshots.open_revision(db, "edges.meta", "master"), "/", writing.commit, "/")
        history.end_write(db, writing)

    line.store.write(copy)
    assert tree(line.store, "kept") == tree(line.store, "edges.meta")


def test_stopped_pipeline_gets_no_commits_there(line: Line) -> None:
    line.store.write(lambda db: pipelines.set_stopped(db, "edges", True))
    head = commit_of(line.store, "edges.meta")
    put(line.store, "images", "/a", b"1")
    assert commit_of(line.store, "edges.meta") == head
