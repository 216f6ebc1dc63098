"""What user code leaves in `/pfs/out`, and what becomes of it."""

from pathlib import Path

import pytest
from pipelines.helpers import Gate, Lab, images
from store.helpers import entry_of, tree

from appliance.pipelines.scratch import remove_tree
from appliance.store import blobs
from appliance.store.blobs import INLINE_BYTES

LARGE = INLINE_BYTES + 1


def file_of(lab: Lab, path: str, repo: str = "edges") -> Path:
    """Return the blob file of a large file in a head."""
    content = entry_of(lab.store, repo, "master", path).content
    with lab.store.snapshot() as db:
        (extent,) = blobs.list_extents(db, lab.store.blobs, content)
    assert extent.file is not None
    return extent.file


def failure(lab: Lab, script: str) -> str:
    """Return why the only datum of a job failed, without the datum's name."""
    job = lab.run(script, {"/dir/a": b"1"}, input=images("/dir/*"))
    (datum,) = lab.datums(job)
    assert (job.state, job.reason) == ("failure", f"datum {datum.id} failed: {datum.reason}")
    assert lab.output() == {}
    return datum.reason


def output(lab: Lab, script: str) -> dict[str, bytes]:
    """Return what a job over `/dir/a` (1) and `/dir/sub/b` (2) leaves."""
    job = lab.run(script, {"/dir/a": b"1", "/dir/sub/b": b"2"}, input=images("/dir"))
    assert job.state == "success", job.reason
    return lab.output()


# -- the union of all datums


def test_path_of_two_datums_fails_the_job_with_both_named(lab: Lab) -> None:
    job = lab.run("echo same > /pfs/out/same", {"/a": b"1", "/b": b"2"})
    one, two = sorted(datum.id for datum in lab.datums(job))
    assert job.state == "failure"
    assert job.reason == f"duplicate path output by different datums (/same from {one} and /same from {two})"
    assert (job.processed, lab.output()) == (2, {})


def test_file_of_one_datum_where_another_has_a_directory_fails_the_job(lab: Lab) -> None:
    job = lab.run("mkdir -p /pfs/out/$(cat $images); echo > /pfs/out/$(cat $images)/x", {"/a": b"x", "/b": b"x/x"})
    assert (job.state, job.reason) == ("failure", "file / directory path collision (/x/x)")


def test_directory_that_two_datums_write_into_is_one(lab: Lab) -> None:
    lab.run("mkdir /pfs/out/d; cp $images /pfs/out/d", {"/a": b"1", "/b": b"2"})
    assert lab.output() == {"/d/a": b"1", "/d/b": b"2"}


# -- names and kinds


def test_name_that_is_not_text_fails_the_datum(lab: Lab) -> None:
    reason = failure(lab, r"touch /pfs/out/$(printf '\377')")
    assert reason.startswith("cannot upload file produced by the user code because its name cannot be represented in PFS: ")


@pytest.mark.parametrize("name", ["new\nline", "ä", "a b", "*"])
def test_name_that_only_pachyderm_refuses_is_kept(lab: Lab, name: str) -> None:
    assert output(lab, f"echo 1 > '/pfs/out/{name}'") == {f"/{name}": b"1\n"}


def test_what_is_no_file_and_empty_directories_are_left_out(lab: Lab) -> None:
    assert output(lab, "cd /pfs/out; mkdir empty; mkfifo fifo; ln -s fifo link; ln -s /dev/null null; echo > file") == {
        "/file": b"\n"
    }


def test_directory_that_user_code_closed_is_taken_in_and_removed(lab: Lab) -> None:
    """For root a mode is no obstacle; what it leaves must be gone all the same."""
    assert output(lab, "cd /pfs/out; mkdir d; echo > d/file; chmod 0 d/file d") == {"/d/file": b"\n"}


def test_tree_without_permissions_can_be_removed(tmp_path: Path) -> None:
    (tmp_path / "scratch" / "a" / "b").mkdir(parents=True)
    (tmp_path / "scratch" / "a" / "b" / "file").touch()
    (tmp_path / "scratch" / "a" / "link").symlink_to("/")
    for path in ("scratch/a/b", "scratch/a"):
        (tmp_path / path).chmod(0)
    remove_tree(tmp_path / "scratch")
    assert list(tmp_path.iterdir()) == []


# -- links


def test_link_to_an_input_is_its_content_and_copies_nothing(lab: Lab) -> None:
    big = bytes(LARGE)
    lab.run("ln -s $images /pfs/out/link", {"/a": big})
    assert lab.output() == {"/link": big}
    assert file_of(lab, "/link") == file_of(lab, "/a", "images")


def test_link_to_a_directory_of_an_input_is_all_that_is_in_it(lab: Lab) -> None:
    assert output(lab, "ln -s /pfs/images/dir /pfs/out/link") == {"/link/a": b"1", "/link/sub/b": b"2"}


def test_link_above_the_datum_is_what_user_code_saw_there(lab: Lab) -> None:
    lab.put({"/unseen": b"0"})
    assert output(lab, "ln -s /pfs/images /pfs/out/link") == {"/link/dir/a": b"1", "/link/dir/sub/b": b"2"}


def test_link_to_a_hidden_file_of_an_input_finds_it(lab: Lab) -> None:
    lab.run("ln -s /pfs/images/.hidden /pfs/out/link", {"/.hidden": b"1", "/hidden": b"2"}, input=images("/"))
    assert lab.output() == {"/link": b"1"}


def test_link_through_a_link_is_followed_step_by_step(lab: Lab) -> None:
    assert output(lab, "cd /pfs/out; ln -s ../images/dir d; ln -s d/sub/../a link") == {
        "/d/a": b"1",
        "/d/sub/b": b"2",
        "/link": b"1",
    }


def test_link_within_the_output_is_a_copy(lab: Lab) -> None:
    script = f"cd /pfs/out; mkdir z; head -c {LARGE} /dev/zero > z/big; ln -s z a; ln -s z/big b; ln -s ../z/big z/c"
    assert output(lab, script) == dict.fromkeys(("/a/big", "/a/c", "/b", "/z/big", "/z/c"), bytes(LARGE))


def test_link_to_the_host_is_followed(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_bytes(bytes(LARGE))
    assert output(lab, f"ln -s {tmp_path}/mine /pfs/out/link") == {"/link/file": bytes(LARGE)}
    assert (tmp_path / "mine" / "file").stat().st_size == LARGE


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("/pfs/out/nothing", "cannot read output file /link: No such file or directory"),
        ("/pfs/images/dir/b", "cannot read output file /link: it is a link to /pfs/images/dir/b, which does not exist"),
        ("/pfs/other/a", "cannot read output file /link: it is a link to /pfs/other/a, which does not exist"),
        ("link", "too many levels of symbolic links in output file /link"),
        (".", "output file /link is a link to /pfs/out, which contains it"),
        ("/pfs", "output file /link is a link to /pfs, which contains it"),
        ("/", "output file /link is a link to /, which contains it"),
    ],
)
def test_link_that_leads_nowhere_or_to_itself_fails_the_datum(lab: Lab, target: str, reason: str) -> None:
    assert failure(lab, f"ln -s {target} /pfs/out/link") == reason


def test_link_to_an_empty_directory_of_an_input_is_left_out(lab: Lab) -> None:
    lab.run(
        "ln -s /pfs/images/empty /pfs/out/link; ln -s /pfs/images/a /pfs/out/a",
        {"/empty/": b"", "/a": b"1"},
        input=images("/"),
    )
    assert lab.output() == {"/a": b"1"}


# -- large files


def test_large_file_is_taken_in_by_renaming(lab: Lab) -> None:
    job = lab.run(f"cd /pfs/out; head -c {LARGE} /dev/zero > big; stat -c %i big", {"/a": b""})
    assert lab.logs(job) == [str(file_of(lab, "/big").stat().st_ino)]


def test_large_file_that_somebody_can_still_write_to_is_copied(lab: Lab, gate: Gate) -> None:
    lab.put({"/a": b""})
    lab.pipeline(f"head -c {LARGE} /dev/zero > /pfs/out/big; {gate.at()}")
    gate.wait()
    (place,) = lab.scratch.glob("*/out/big")
    with place.open("r+b") as file:
        gate.open()
        lab.succeeded()
        file.write(b"too late")
    assert lab.output() == {"/big": bytes(LARGE)}


def test_input_can_not_be_changed(lab: Lab) -> None:
    assert failure(lab, "echo changed > /pfs/images/dir/a").startswith("user code exited with status")
    assert tree(lab.store, "images") == {"/dir/a": b"1"}


def test_deep_directories_are_refused(lab: Lab) -> None:
    path = "/".join("d" * 120)
    assert failure(lab, f"mkdir -p /pfs/out/{path}; touch /pfs/out/{path}/file").startswith(
        "the output has directories more than 100 deep"
    )


def test_failed_datum_leaves_no_bytes_in_staging(lab: Lab) -> None:
    """A copied large file comes before the name that nobody can keep."""
    failure(lab, rf"cd /pfs/out; head -c {LARGE} /dev/zero > a; ln a b; touch $(printf '\377')")
    assert list((lab.store.directory / "staging").iterdir()) == []
