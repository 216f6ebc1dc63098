"""What commands are told about things: plain data, as they are read from one snapshot."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from appliance.pipelines.doors import decode_inputs
from appliance.pipelines.spec import from_json, input_shorthand
from appliance.store import Db, blobs, datums, snapshots
from appliance.store.pipelines import Pipeline
from appliance.store.snapshots import Entry, Kind, Snapshot


@dataclass(frozen=True, slots=True)
class FileInfo:
    """A file or directory as listed; directories end in a slash and have the size of everything below them."""

    path: str
    is_dir: bool
    size_bytes: int
    digest: str | None
    etag: str | None
    modified_ns: int | None
    commit: str | None


def describe_file(db: Db, entry: Entry) -> FileInfo:
    """Return what is known of a file or an explicit directory."""
    is_dir = entry.kind == Kind.DIRECTORY
    digest = None if is_dir else blobs.get_digest(db, entry.content).hex()
    version = snapshots.get_version(db, entry)
    return FileInfo(entry.path, is_dir, entry.content.size_bytes, digest, entry.content.etag, entry.modified_ns, version)


def describe_directory(db: Db, snapshot: Snapshot, path: str) -> FileInfo:
    """Return what is known of a directory (`/a/`); looks at everything below it."""
    size_bytes = sum(entry.content.size_bytes for entry in snapshots.iter_entries(db, snapshot, path))
    return FileInfo(path, True, size_bytes, None, None, None, None)


@dataclass(frozen=True, slots=True)
class PipelineInfo:
    """A pipeline with its spec as an object and its input in one line."""

    name: str
    version: int
    stopped: bool
    created_ns: int
    input: str
    last_job_state: str | None
    description: str
    spec: msgspec.Raw


def describe_pipeline(found: Pipeline) -> PipelineInfo:
    """Return what is known of a pipeline."""
    spec = from_json(found.spec)
    return PipelineInfo(
        name=found.name,
        version=found.version,
        stopped=bool(found.stopped),
        created_ns=found.created_ns,
        input=input_shorthand(spec.input),
        last_job_state=found.last_job_state,
        description=spec.description,
        spec=msgspec.Raw(found.spec),
    )


@dataclass(frozen=True, slots=True)
class DatumInfo:
    """A datum with the paths of its inputs."""

    id: str
    state: str
    reason: str
    tries: int
    files: tuple[str, ...]
    started_ns: int | None
    finished_ns: int | None
    opened: tuple[str, ...] = ()


def describe_datum(datum: datums.StoredDatum, opened: Sequence[tuple[str, str]] = ()) -> DatumInfo:
    """Return what is known of a datum, with the files that it `opened` of its inputs, by repo and path."""
    paths = tuple(f"{item.repo}@{item.commit}:{item.path}" for item in decode_inputs(datum.inputs))
    files = tuple(f"{repo}:{path}" for repo, path in opened)
    return DatumInfo(datum.id, datum.state, datum.reason, datum.tries, paths, datum.started_ns, datum.finished_ns, files)
