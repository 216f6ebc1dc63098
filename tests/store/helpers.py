"""The store in one line each: what most tests arrange and look at."""

import hashlib
from collections.abc import Mapping, Sequence

from appliance.names import CommitId
from appliance.store import (
    Db,
    Store,
    blobs,
    commits,
    completing,
    datums,
    files,
    history,
    jobs,
    pipelines,
    repos,
    running,
    snapshots,
)
from appliance.store.blobs import Content, StagedBlob

LARGE = bytes(range(256)) * 200
"""More than is kept in the database."""


def create_repos(store: Store, *names: str) -> None:
    for name in names:
        store.write(lambda db, name=name: repos.create_repo(db, name))


def stage(store: Store, data: bytes, *, md5: bool = True) -> StagedBlob:
    with store.blobs.receive(md5=md5) as receiver:
        receiver.write(data)
        return receiver.finish()


def keep(store: Store, data: bytes, *, md5: bool = True) -> Content:
    """Publish and record bytes that no file refers to yet."""
    staged = stage(store, data, md5=md5)
    store.blobs.publish(staged)
    return store.write(lambda db: blobs.record(db, staged))


def put(store: Store, repo: str, path: str, data: bytes, branch: str = "master") -> CommitId:
    """Put one file; return the commit that has it."""
    return put_all(store, repo, {path: data}, branch)


def put_all(store: Store, repo: str, tree: Mapping[str, bytes], branch: str = "master") -> CommitId:
    """Put files in one write; a path with a slash behind it is an explicit directory."""
    staged = {path: stage(store, data) for path, data in tree.items()}
    for blob in staged.values():
        store.blobs.publish(blob)

    def write(db: Db) -> CommitId:
        writing = history.begin_write(db, repo, branch)
        for path, blob in staged.items():
            if path.endswith("/"):
                files.make_directory(db, writing.commit, path)
            else:
                files.put_file(db, writing.commit, path, blobs.record(db, blob))
        history.end_write(db, writing)
        return writing.commit.id

    return store.write(write)


def delete(store: Store, repo: str, path: str, branch: str = "master") -> CommitId:
    """Delete one file, or with a slash behind the path everything below it; return the commit."""

    def write(db: Db) -> CommitId:
        writing = history.begin_write(db, repo, branch)
        remove = files.delete_tree if path.endswith("/") else files.delete_path
        remove(db, writing.commit, path)
        history.end_write(db, writing)
        return writing.commit.id

    return store.write(write)


def start(store: Store, repo: str, branch: str = "master", parent: str | None = None) -> CommitId:
    return store.write(lambda db: history.start_commit(db, repo, branch, parent=parent)).id


def finish(store: Store, repo: str, revision: str = "master") -> CommitId:
    return store.write(lambda db: history.finish_user_commit(db, repo, revision)).id


def fork(store: Store, repo: str, branch: str, head: str | None = None) -> None:
    store.write(lambda db: repos.create_branch(db, repo, branch, head=head))


def derive(store: Store, repo: str, *upstream: str) -> None:
    """Make `repo@master` depend on the masters of other repos."""
    sources = [(name, "master") for name in upstream]
    store.write(lambda db: repos.create_branch(db, repo, "master", provenance=sources))


def commit_of(store: Store, repo: str, revision: str = "master") -> commits.Commit:
    with store.snapshot() as db:
        return commits.get_commit(db, repo, revision)


def entry_of(store: Store, repo: str, revision: str, path: str) -> snapshots.Entry:
    with store.snapshot() as db:
        return snapshots.get_file(db, snapshots.open_revision(db, repo, revision), path)


def bytes_of(store: Store, content: Content) -> bytes:
    with store.snapshot() as db:
        extents = blobs.list_extents(db, store.blobs, content)
    return b"".join(blobs.read_extents(extents))


def read(store: Store, repo: str, revision: str, path: str) -> bytes:
    return bytes_of(store, entry_of(store, repo, revision, path).content)


def tree(store: Store, repo: str, revision: str = "master") -> dict[str, bytes]:
    """Return everything that readers of a revision see, explicit directories with their slash."""
    with store.snapshot() as db:
        found = list(snapshots.iter_entries(db, snapshots.open_revision(db, repo, revision)))
    return {entry.path: bytes_of(store, entry.content) for entry in found}


def create_pipeline(store: Store, name: str, *inputs: str) -> None:
    new = pipelines.NewPipeline(name, b"{}", "", "master", [(repo, "master") for repo in inputs], "salt")
    store.write(lambda db: pipelines.create_pipeline(db, new))


def datum(name: str) -> datums.NewDatum:
    digest = hashlib.sha256(name.encode()).digest()
    return datums.NewDatum(digest, digest, b"{}")


def waiting(store: Store, pipeline: str) -> jobs.Waiting:
    """Return the job of a pipeline that is to run next."""
    with store.snapshot() as db:
        return next(job for job in jobs.list_waiting(db) if job.pipeline == pipeline)


def claim(store: Store, pipeline: str, names: Sequence[str]) -> jobs.Job:
    """Begin the next job of a pipeline with datums of these names, ready to run."""
    row = waiting(store, pipeline).row

    def write(db: Db) -> jobs.Job:
        job = running.begin_job(db, row)
        datums.add_datums(db, job, 0, [datum(name) for name in names], skip=True)
        return running.run_job(db, row)

    return store.write(write)


def datums_of(store: Store, job: jobs.Job) -> list[datums.StoredDatum]:
    with store.snapshot() as db:
        return list(datums.iter_datums(db, job.row))


def write_output(store: Store, datum_row: int, path: str, data: bytes) -> None:
    """Stage one output file, or with a slash behind the path an explicit directory."""
    if path.endswith("/"):
        kind, content = snapshots.Kind.DIRECTORY, Content(0, hashlib.md5().hexdigest())
    else:
        kind, content = snapshots.Kind.FILE, keep(store, data)
    store.write(lambda db: datums.put_datum_file(db, datum_row, path, kind, content))


def process(store: Store, job: jobs.Job, outputs: Mapping[str, Mapping[str, bytes]]) -> None:
    """Run the waiting datums of a claimed job: each writes what `outputs` has under its name."""
    names = {datum(name).datum_id.hex(): name for name in outputs}
    for stored in datums_of(store, job):
        if stored.state == "waiting":
            store.write(lambda db, row=stored.row: datums.start_try(db, row))
            for path, data in outputs[names[stored.id]].items():
                write_output(store, stored.row, path, data)
            store.write(lambda db, stored=stored: datums.finish_datum(db, stored, "success"))


def run_pipeline(store: Store, pipeline: str, outputs: Mapping[str, Mapping[str, bytes]]) -> jobs.Job:
    """Run the next job of a pipeline from claim to finished commit."""
    job = claim(store, pipeline, list(outputs))
    process(store, job, outputs)
    completing.complete_job(store, job.row)
    return job_of(store, job)


def job_of(store: Store, job: jobs.Job) -> jobs.Job:
    with store.snapshot() as db:
        return jobs.get_by_row(db, job.row)
