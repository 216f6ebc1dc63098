"""Datums: what one run of the user's code gets, what identifies it, and what the code is told of it. Pure.

Identity is Pachyderm's (`src/server/worker/common`): the id of a datum says which paths of which inputs it has, its hash also
what is in them and the pipeline's salt. Datums with equal hashes need not be processed again. A directory counts with a
trailing slash, as everywhere in PFS 2.
"""

import posixpath
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

import msgspec

from appliance.globs import expand_groups
from appliance.pipelines.spec import PfsInput


@dataclass(frozen=True, slots=True)
class Match:
    """A file or directory that a glob matched. `digest` is of its whole content, in hex."""

    path: str
    digest: str
    size_bytes: int
    is_dir: bool
    captures: tuple[str, ...] = ()


class DatumInput(msgspec.Struct, frozen=True, gc=False):
    """One file or directory of a datum, below `/pfs/<name>` at its true path. `join_on` and `group_by` are evaluated keys.

    Not a dataclass: planning makes, writes and reads one for each file, which takes a fifth of the time so.
    """

    name: str
    repo: str
    branch: str
    commit: str
    path: str
    digest: str
    size_bytes: int
    is_dir: bool
    s3: bool
    join_on: str = ""
    group_by: str = ""
    outer_join: bool = False
    reference: bool = False
    empty_files: bool = False


@dataclass(frozen=True, slots=True)
class Datum:
    """What one run of the user's code gets. A group has several inputs of one name."""

    id: str
    hash: str
    inputs: tuple[DatumInput, ...]


Row = tuple[DatumInput, ...]
"""What a datum consists of."""


def make_datum(inputs: Row, salt: str) -> Datum:
    """Return the datum of these inputs in a pipeline with this salt."""
    identity = datum_id(inputs)
    return Datum(identity, datum_hash(identity, inputs, salt), inputs)


def make_input(leaf: PfsInput, commit: str, match: Match) -> DatumInput:
    """Return what a leaf of the input has in a commit."""
    return DatumInput(
        name=leaf.name,
        repo=leaf.source,
        branch=leaf.branch,
        commit=commit,
        path=match.path,
        digest=match.digest,
        size_bytes=match.size_bytes,
        is_dir=match.is_dir,
        s3=leaf.s3,
        join_on=expand_groups(leaf.join_on, match.captures, whole=match.path),
        group_by=expand_groups(leaf.group_by, match.captures, whole=match.path),
        outer_join=leaf.outer_join,
        reference=leaf.reference,
        empty_files=leaf.empty_files,
    )


def datum_id(inputs: Iterable[DatumInput]) -> str:
    """Return 64 hex digits that say which paths of which inputs these are."""
    digest = blake2b(digest_size=32)
    for item in inputs:
        digest.update(_place_id(item.name, item.repo, item.branch))
        digest.update(_with_length(_pfs_path(item)))
    return digest.hexdigest()


def datum_hash(identity: str, inputs: Iterable[DatumInput], salt: str) -> str:
    """Return 64 hex digits that change with the id, with the content of an input that is no mere reference, or the salt."""
    digest = blake2b(identity.encode(), digest_size=32)
    for item in inputs:
        if not item.reference:
            digest.update(bytes.fromhex(item.digest))
    digest.update(salt.encode())
    return digest.hexdigest()


def datum_environment(datum: Datum, *, job_id: str, output_commit: str) -> dict[str, str]:
    """Return the variables that tell the user's code about its datum; what an S3 endpoint needs is not among them.

    Of several inputs with one name the last counts.
    """
    variables: dict[str, str] = {}
    for item in datum.inputs:
        variables[item.name] = posixpath.join("/pfs", item.name, item.path.strip("/")).rstrip("/")
        variables[f"{item.name}_COMMIT"] = item.commit
        if item.join_on:
            variables[f"PACH_DATUM_{item.name}_JOIN_ON"] = item.join_on
        if item.group_by:
            variables[f"PACH_DATUM_{item.name}_GROUP_BY"] = item.group_by
    job = {"PACH_DATUM_ID": datum.id, "PACH_JOB_ID": job_id, "PACH_OUTPUT_COMMIT_ID": output_commit}
    return variables | job


@lru_cache(maxsize=256)  # a few inputs have all the files
def _place_id(*names: str) -> bytes:
    return b"".join(map(_with_length, names))


def _with_length(text: str) -> bytes:
    data = text.encode()
    return data + len(data).to_bytes(8, "big")


def _pfs_path(item: DatumInput) -> str:
    return f"{item.path}/" if item.is_dir and item.path != "/" else item.path
