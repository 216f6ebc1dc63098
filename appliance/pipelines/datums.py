"""From inputs and the files they match to datums: what one run of the user's code gets. Pure.

Identity is Pachyderm's (`src/server/worker/common`): the id of a datum says which paths of which inputs it has, its hash also
what is in them and the pipeline's salt. Datums with equal hashes need not be processed again. A directory counts with a
trailing slash, as everywhere in PFS 2.
"""

import itertools
import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b

from appliance.globs import expand_groups
from appliance.pipelines.spec import Input, PfsInput, sort_input


@dataclass(frozen=True, slots=True)
class Match:
    """A file or directory that a glob matched. `digest` is of its whole content, in hex."""

    path: str
    digest: str
    size_bytes: int
    is_dir: bool
    captures: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DatumInput:
    """One file or directory of a datum, below `/pfs/<name>` at its true path. `join_on` and `group_by` are evaluated keys."""

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


_Row = tuple[DatumInput, ...]
_Source = Callable[[PfsInput], Iterable[DatumInput]]


def iter_datums(
    tree: Input,
    matches: Callable[[PfsInput], Iterable[Match]],
    commits: Mapping[tuple[str, str], str],
    *,
    salt: str,
) -> Iterator[Datum]:
    """Yield the datums of an input, in an order that follows only from the input and the order of `matches`.

    `matches` answers what a leaf's glob matches in its commit, in order of paths. `commits` has the commit of every
    input by its repo and branch; one that is missing matches nothing. Only the members of a cross are held in memory, not
    their product.
    """

    def source(leaf: PfsInput) -> Iterator[DatumInput]:
        if commit := commits.get((leaf.source, leaf.branch)):
            yield from (_datum_input(leaf, commit, match) for match in matches(leaf))

    for row in _rows(sort_input(tree), source):
        identity = datum_id(row)
        yield Datum(identity, datum_hash(identity, row, salt), row)


def datum_id(inputs: Iterable[DatumInput]) -> str:
    """Return 64 hex digits that say which paths of which inputs these are."""
    digest = blake2b(digest_size=32)
    for item in inputs:
        for text in (item.name, item.repo, item.branch, _pfs_path(item)):
            data = text.encode()
            digest.update(data)
            digest.update(len(data).to_bytes(8, "big"))
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


def _pfs_path(item: DatumInput) -> str:
    return f"{item.path}/" if item.is_dir and item.path != "/" else item.path


def _datum_input(leaf: PfsInput, commit: str, match: Match) -> DatumInput:
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


def _rows(tree: Input, source: _Source) -> Iterator[_Row]:
    if tree.pfs or tree.cron:
        leaf = tree.pfs or (tree.cron and tree.cron.as_pfs())
        return ((item,) for item in source(leaf)) if leaf else iter(())
    if tree.union:
        return _union(tree.union, source)
    if tree.join:
        return _join(tree.join, source)
    if tree.group:
        return _group(tree.group, source)
    return _cross([list(_rows(member, source)) for member in _flatten(tree)])


def _flatten(tree: Input) -> Iterator[Input]:
    """The members of a cross, those of a cross inside it in its place: the same rows, and no inner product to hold."""
    for member in tree.cross:
        yield from _flatten(member) if member.cross else (member,)


def _cross(factors: list[list[_Row]]) -> Iterator[_Row]:
    return (tuple(itertools.chain.from_iterable(rows)) for rows in itertools.product(*factors))


def _union(members: Iterable[Input], source: _Source) -> Iterator[_Row]:
    """A row that several members have is one datum: its id would be the same."""
    seen: set[_Row] = set()
    for row in itertools.chain.from_iterable(_rows(member, source) for member in members):
        if row not in seen:
            seen.add(row)
            yield row


def _join(members: Iterable[Input], source: _Source) -> Iterator[_Row]:
    """For every key the cross product of what the members have; where one has nothing, of the outer ones that have some."""
    tables = [_by_key(_rows(member, source), lambda item: item.join_on) for member in members]
    for key in sorted(set().union(*tables)):
        columns = [table.get(key, []) for table in tables]
        if not all(columns):
            columns = [outer for column in columns if (outer := [item for item in column if item.outer_join])]
        if columns:
            yield from itertools.product(*columns)


def _group(members: Iterable[Input], source: _Source) -> Iterator[_Row]:
    tables = [_by_key(_rows(member, source), lambda item: item.group_by) for member in members]
    for key in sorted(set().union(*tables)):
        yield tuple(itertools.chain.from_iterable(table.get(key, ()) for table in tables))


def _by_key(rows: Iterable[_Row], key: Callable[[DatumInput], str]) -> dict[str, list[DatumInput]]:
    """Files by key, each once: a combination inside a join or group is taken apart again, as in Pachyderm."""
    table: dict[str, dict[DatumInput, None]] = {}
    for item in itertools.chain.from_iterable(rows):
        table.setdefault(key(item), {})[item] = None
    return {name: list(items) for name, items in table.items()}
