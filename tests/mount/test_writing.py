"""A writable branch: what programs do in it, its commit, and what is left of it after a crash."""

# The calls themselves are the subject.
# ruff: noqa: PTH102, PTH104, PTH105, PTH106, PTH108

import errno
import os
from contextlib import closing
from pathlib import Path

import pytest
from mount.conftest import Mounted, Serving
from mount.helpers import EXCHANGE, KEEP, names, rename, run, serve_and_die
from store.helpers import create_repos, put_all

from appliance.errors import Conflict, NotFound
from appliance.mount import committing
from appliance.store import Store, files, history, repos, snapshots, squash
from appliance.store.blobs import list_extents, read_extents
from appliance.store.commits import get_head


@pytest.fixture
def data(writable: Mounted) -> Path:
    return writable.path / "data"


def committed(store: Store, repo: str = "data") -> dict[str, bytes]:
    """What the head holds, by path."""
    with store.snapshot() as db:
        snapshot = snapshots.open_branch(db, repo, "master")
        return {
            entry.path: b"".join(read_extents(list_extents(db, store.blobs, entry.content)))
            for entry in snapshots.iter_entries(db, snapshot)
        }


BEFORE = {"/foo": b"foo", "/dir/bar": b"bar", "/dir/sub/deep": b"deep"}


def refused(number: int) -> pytest.RaisesExc[OSError]:
    return pytest.raises(OSError, match=rf"\[Errno {number}\]")


def test_a_new_file_is_committed_with_what_was_there(store, writable, data):
    (data / "new").write_bytes(b"new" * 100_000)
    assert committed(store) == BEFORE
    commit = writable.mount.commit("data", "master")
    assert committed(store) == BEFORE | {"/new": b"new" * 100_000}
    assert (data / "new").read_bytes() == b"new" * 100_000
    assert os.getxattr(data / "new", "user.pfs.commit") == commit.encode()


def test_writes_append_and_change_in_the_middle(store, writable, data):
    with (data / "foo").open("ab") as file:
        file.write(b"foo")
    with (data / "dir/bar").open("r+b") as file:
        file.seek(1)
        file.write(b"AAA")
    assert ((data / "foo").read_bytes(), (data / "dir/bar").read_bytes()) == (b"foofoo", b"bAAA")
    writable.mount.commit("data", "master")
    assert committed(store) == BEFORE | {"/foo": b"foofoo", "/dir/bar": b"bAAA"}


def test_a_file_can_be_shortened_and_lengthened(store, writable, data):
    os.truncate(data / "foo", 1)
    os.truncate(data / "foo", 3)
    assert (data / "foo").stat().st_size == 3
    writable.mount.commit("data", "master")
    assert committed(store)["/foo"] == b"f\0\0"


def test_editors_that_save_by_renaming_lose_nothing(store, writable, data):
    (data / "foo.tmp").write_bytes(b"edited")
    os.replace(data / "foo.tmp", data / "foo")
    writable.mount.commit("data", "master")
    assert committed(store) == BEFORE | {"/foo": b"edited"}


def test_a_directory_moves_with_what_is_in_it(store, writable, data):
    (data / "dir/bar").unlink()
    os.rename(data / "dir", data / "moved")
    (data / "moved/sub/more").write_bytes(b"more")
    assert (names(data), names(data / "moved"), names(data / "moved/sub")) == (["foo", "moved"], ["sub"], ["deep", "more"])
    writable.mount.commit("data", "master")
    assert committed(store) == {"/foo": b"foo", "/moved/sub/deep": b"deep", "/moved/sub/more": b"more"}


def test_a_directory_that_moves_back_is_as_it_was(store, writable, data):
    os.rename(data / "dir", data / "away")
    os.rename(data / "away", data / "dir")
    writable.mount.commit("data", "master")
    assert committed(store) == BEFORE


def test_a_moved_file_keeps_its_number(data):
    before = (data / "foo").stat().st_ino
    os.rename(data / "foo", data / "dir/foo")
    with (data / "dir/foo").open("ab"):
        assert (data / "dir/foo").stat().st_ino == before


def test_removed_trees_are_gone_and_empty_directories_stay(store, writable, data):
    (data / "dir/sub/deep").unlink()
    (data / "dir/sub").rmdir()
    (data / "dir/bar").unlink()
    assert names(data / "dir") == []
    os.mkdir(data / "empty")
    writable.mount.commit("data", "master")
    assert set(committed(store)) == {"/foo", "/dir/", "/empty/"}
    assert names(data) == ["dir", "empty", "foo"]


def test_what_replaces_a_directory_hides_all_of_it(store, writable, data):
    os.rename(data / "dir", data / "away")
    (data / "dir").write_bytes(b"file")
    writable.mount.commit("data", "master")
    assert committed(store) == {"/foo": b"foo", "/dir": b"file", "/away/bar": b"bar", "/away/sub/deep": b"deep"}


def test_two_names_change_places_in_one_call(store, writable, data):
    (data / "dir/new").write_bytes(b"new")
    rename(data / "foo", data / "dir/new", EXCHANGE)
    rename(data / "dir/sub", data / "foo", EXCHANGE)
    rename(data / "dir/bar", data / "dir/new", EXCHANGE)
    assert ((data / "dir/sub").read_bytes(), names(data / "foo")) == (b"new", ["deep"])
    with refused(errno.ENOENT):
        rename(data / "foo", data / "missing", EXCHANGE)
    with refused(errno.EINVAL):
        rename(data / "dir", data / "dir/bar", EXCHANGE)
    writable.mount.commit("data", "master")
    assert committed(store) == {"/foo/deep": b"deep", "/dir/sub": b"new", "/dir/new": b"bar", "/dir/bar": b"foo"}


def test_a_rename_that_must_replace_nothing_does_not(data):
    with refused(errno.EEXIST):
        rename(data / "foo", data / "dir/bar", KEEP)
    rename(data / "foo", data / "dir/new", KEEP)
    assert (data / "dir/new").read_bytes() == b"foo"


def test_errors_are_those_of_a_file_system(data):
    with refused(errno.ENOTEMPTY):
        os.rmdir(data / "dir")
    with refused(errno.ENOTDIR):
        os.rmdir(data / "foo")
    with refused(errno.EISDIR):
        os.unlink(data / "dir")
    with refused(errno.EEXIST):
        os.mkdir(data / "dir")
    with refused(errno.ENOTEMPTY):
        os.mkdir(data / "new")
        os.rename(data / "new", data / "dir")
    with refused(errno.ENOENT):
        os.rename(data / "missing", data / "other")
    with refused(errno.EXDEV):
        os.rename(data / "foo", data.parent / "other/foo")
    with refused(errno.EINVAL):
        os.mkdir(os.fsencode(data) + b"/\xff")
    with refused(errno.ENAMETOOLONG):
        os.mkdir(data / ("x" * 256))


def test_hard_links_are_one_file_until_the_commit(store, writable, data):
    os.link(data / "foo", data / "dir/linked")
    with (data / "dir/linked").open("ab") as file:
        file.write(b" more")
    assert (data / "foo").read_bytes() == b"foo more"
    assert (data / "foo").stat().st_nlink == (data / "dir/linked").stat().st_nlink == 2
    (data / "foo").unlink()
    assert (data / "dir/linked").read_bytes() == b"foo more"
    os.link(data / "dir/linked", data / "third")
    writable.mount.commit("data", "master")
    kept = {path: data for path, data in BEFORE.items() if path != "/foo"}
    assert committed(store) == kept | {"/dir/linked": b"foo more", "/third": b"foo more"}


def test_hard_links_that_can_not_be_are_refused(data):
    with refused(errno.EEXIST):
        os.link(data / "foo", data / "dir/bar")
    with refused(errno.EPERM):
        os.link(data / "dir", data / "linked")
    with refused(errno.EXDEV):
        os.link(data / "foo", data.parent / "other/linked")


def test_a_removed_file_that_is_open_can_be_used_on(data):
    with (data / "new").open("w+b") as file:
        (data / "new").unlink()
        file.write(b"still")
        file.flush()
        assert os.fstat(file.fileno()).st_size == 5
    assert names(data) == ["dir", "foo"]


def test_who_reads_a_file_sees_what_others_write_to_it(store, writable, data):
    large = b"x" * 1_000_000  # more than the kernel reads ahead: it asks again
    put_all(store, "data", {"/large": large})
    writable.settle()
    with (data / "large").open("rb", buffering=0) as reader:
        for number in (1, 2):  # the second time what is read was staged, and committed meanwhile
            assert reader.read(1) == b"x"
            with (data / "large").open("r+b") as writer:
                writer.seek(-number, os.SEEK_END)
                writer.write(b"!")
            reader.seek(-number, os.SEEK_END)
            assert reader.read(1) == b"!"
            reader.seek(0)
            writable.mount.commit("data", "master")


def test_a_file_that_is_removed_while_it_is_read_can_be_looked_at(data):
    (data / "new").write_bytes(b"new")
    with (data / "new").open("rb") as reader:
        (data / "new").unlink()
        assert (os.fstat(reader.fileno()).st_nlink, reader.read()) == (0, b"new")
        os.fchmod(reader.fileno(), 0o600)
        assert os.fstat(reader.fileno()).st_mode & 0o777 == 0o600


def test_times_and_the_executable_bit_hold_until_the_commit(data):
    (data / "foo").chmod(0o755)
    os.utime(data / "foo", ns=(5, 10**18))
    assert ((data / "foo").stat().st_mode & 0o777, (data / "foo").stat().st_mtime_ns) == (0o755, 10**18)


def test_a_file_that_is_open_for_writing_holds_up_the_commit(store, writable, data):
    with (data / "new").open("wb") as file:
        file.write(b"x")
        with pytest.raises(Conflict, match="data@master: /new is open for writing"):
            writable.mount.commit("data", "master")
    assert writable.mount.commit("data", "master") is not None


def test_what_others_committed_elsewhere_stays(store, writable, data):
    (data / "foo").write_bytes(b"mine")
    put_all(store, "data", {"/other": b"theirs"})
    writable.mount.commit("data", "master")
    assert committed(store) == BEFORE | {"/foo": b"mine", "/other": b"theirs"}


def test_what_others_committed_in_the_same_place_is_not_overwritten_silently(store, writable, data):
    (data / "foo").write_bytes(b"mine")
    put_all(store, "data", {"/foo": b"theirs"})
    with pytest.raises(Conflict, match="data@master has changed meanwhile where changes are staged: /foo"):
        writable.mount.commit("data", "master")
    assert (committed(store)["/foo"], (data / "foo").read_bytes()) == (b"theirs", b"mine")
    writable.mount.commit("data", "master", overwrite=True)
    assert committed(store)["/foo"] == b"mine"


def test_a_file_that_others_put_into_a_removed_directory_is_a_conflict(store, writable, data):
    os.rename(data / "dir", data / "moved")
    put_all(store, "data", {"/dir/sub/new": b"theirs"})
    with pytest.raises(Conflict, match="/dir/sub/new"):
        writable.mount.commit("data", "master")


def test_discard_shows_the_head_again(store, writable, data):
    (data / "foo").write_bytes(b"mine")
    put_all(store, "data", {"/foo": b"theirs"})
    assert writable.mount.discard("data", "master")
    assert (data / "foo").read_bytes() == b"theirs"
    assert not list((store.directory / "mount").iterdir())


def test_changes_whose_commit_was_dropped_can_be_discarded(store, writable, data):
    (data / "foo").write_bytes(b"mine")
    with store.snapshot() as db:
        head = get_head(db, "data", "master")
    store.write(lambda db: squash.drop_commit(db, "data", head.id))
    with pytest.raises(NotFound):
        writable.mount.commit("data", "master")
    assert writable.mount.discard("data", "master")
    assert names(data) == []


def test_changes_whose_commit_was_dropped_are_still_listed(store, writable, data):
    put_all(store, "other", {"/foo": b"foo"})
    (writable.path / "other/foo").write_bytes(b"mine")
    (data / "foo").write_bytes(b"mine")
    (data / "new").write_bytes(b"mine")
    with store.snapshot() as db:
        head = get_head(db, "data", "master")
    store.write(lambda db: squash.drop_commit(db, "data", head.id))
    with store.snapshot() as db:
        listed = [(one["repo"], one["what"], one["path"]) for one in committing.iter_status(store, db)]
    assert listed == [("data", "changed", "/foo"), ("data", "added", "/new"), ("other", "changed", "/foo")]
    writable.mount.discard("data", "master")


def test_a_file_that_is_rewritten_keeps_its_metadata_but_not_its_checksum(store, writable, data):
    metadata = {"content-type": "text/plain", "x-amz-meta-by": "me", "x-amz-checksum-crc32": "AAAAAA=="}
    with store.snapshot() as db:
        content = snapshots.get_file(db, snapshots.open_branch(db, "data", "master"), "/foo").content

    def describe(db):
        writing = history.begin_write(db, "data", "master")
        files.put_file(db, writing.commit, "/foo", content, metadata)
        history.end_write(db, writing)

    store.write(describe)
    (data / "foo").write_bytes(b"rewritten")
    writable.mount.commit("data", "master")
    with store.snapshot() as db:
        entry = snapshots.get_file(db, snapshots.open_branch(db, "data", "master"), "/foo")
    assert entry.metadata == {"content-type": "text/plain", "x-amz-meta-by": "me"}
    assert entry.content.size_bytes == 9


def test_a_commit_that_takes_too_long_is_given_up_and_all_stays_staged(store, writable, data):
    (data / "foo").write_bytes(b"mine")

    def give_up():
        raise Conflict("the time is up")

    with pytest.raises(Conflict, match="the time is up"):
        committing.commit(store, "data", "master", go_on=give_up)
    assert (committed(store), (data / "foo").read_bytes()) == (BEFORE, b"mine")


def test_work_goes_on_in_a_directory_after_the_commit(store, writable, data):
    os.mkdir(data / "work")
    directory = os.open(data / "work", os.O_DIRECTORY)
    try:
        for name in ("one", "two"):
            os.close(os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=directory))
            writable.mount.commit("data", "master")
    finally:
        os.close(directory)
    assert set(committed(store)) == set(BEFORE) | {"/work/one", "/work/two"}


def test_a_listing_goes_on_behind_the_commit(store, writable, data):
    (data / "new").mkdir()
    (data / "new/file").touch()
    with os.scandir(data / "new") as listing:
        writable.mount.commit("data", "master")
        assert [entry.name for entry in listing] == ["file"]


def test_the_end_of_the_mount_commits(store, place, quiet):
    create_repos(store, "data")
    with Serving(store, place, "data"):
        (place / "data/new").write_bytes(b"new")
    assert committed(store) == {"/new": b"new"}


def test_only_what_was_asked_for_is_writable(store, place, quiet):
    create_repos(store, "data", "other")
    put_all(store, "data", {"/foo": b"foo"})
    with Serving(store, place, "data"):
        for top in ("other", "data@master"):
            with refused(errno.EROFS):
                os.mkdir(place / top / "new")


def test_a_branch_is_writable_by_its_name(store, place, quiet):
    create_repos(store, "data")
    put_all(store, "data", {"/foo": b"foo"})
    store.write(lambda db: repos.create_branch(db, "data", "staging", head="master"))
    with Serving(store, place, "data@staging") as mounted:
        (place / "data@staging/foo").write_bytes(b"changed")
        mounted.mount.commit("data", "staging")
        assert ((place / "data/foo").read_bytes(), (place / "data@staging/foo").read_bytes()) == (b"foo", b"changed")


def test_staged_changes_outlive_a_killed_process(tmp_path, place):
    program = "import os, sys; os.chdir(sys.argv[1] + '/data'); os.mkdir('dir'); open('dir/new', 'w').write('kept')"
    with closing(Store(tmp_path / "data", "fast")) as store:
        create_repos(store, "data")
    serve_and_die(tmp_path / "data", place, dict(os.environ), "*", meanwhile=lambda: run(program, place))
    with closing(Store(tmp_path / "data", "fast")) as store:
        with Serving(store, place, "*"):
            assert (place / "data/dir/new").read_text() == "kept"
        assert committed(store) == {"/dir/new": b"kept"}


def test_strict_names_are_refused_when_they_are_made(store, place, quiet):
    create_repos(store, "data")
    with Serving(store, place, "data", strict=True):
        for name in ("sta*r", "ümlaut", "a@b"):
            for change in (os.mkdir, lambda path: path.write_bytes(b"")):
                with refused(errno.EINVAL):
                    change(place / "data" / name)
        (place / "data/plain").write_bytes(b"")
        with refused(errno.EINVAL):
            os.rename(place / "data/plain", place / "data/quest?ion")
    assert committed(store) == {"/plain": b""}


def test_files_and_directories_can_be_synced(data: Path) -> None:
    for path in (data, data / "dir", data / "foo"):
        descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
        os.fsync(descriptor)
        os.close(descriptor)
