"""The datums that an input comes to, from what is in the store: for a job, or to be looked at before there is one."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager

from appliance.globs import compile_glob
from appliance.pipelines.combining import iter_datums
from appliance.pipelines.datums import Datum, Match
from appliance.pipelines.spec import Input, PfsInput, leaves
from appliance.store import Db, commits, matching, repos, snapshots
from appliance.store.commits import Commit
from appliance.store.spool import open_spool

Pinned = Mapping[tuple[str, str], Commit]
"""The commit of each input, by its repo and branch."""

Read = Callable[[], AbstractContextManager[Db]]


def iter_planned(read: Read, tree: Input, pinned: Pinned, salt: str) -> Iterator[Datum]:
    """Yield the datums of an input. `read` gives a snapshot, for one glob at a time."""

    def matches(leaf: PfsInput) -> Iterator[Match]:
        with read() as db:
            snapshot = snapshots.open_commit(db, pinned[leaf.source, leaf.branch])
            for found in matching.iter_matches(db, snapshot, compile_glob(leaf.glob)):
                yield Match(found.path, found.digest, found.size_bytes, found.is_dir, found.captures)

    ids = {place: commit.id for place, commit in pinned.items()}
    with open_spool() as spool:
        yield from iter_datums(tree, matches, ids, spool, salt=salt)


def pin_heads(db: Db, tree: Input) -> Pinned:
    """Return what readers of an input's branches see now; a branch that is missing has nothing. Raises RepoNotFound."""
    pinned = {}
    for leaf in leaves(tree):
        if repos.find_branch_id(db, leaf.source, leaf.branch) is None:  # creating the pipeline would make it, empty
            continue
        if commit := commits.find_readable(db, commits.get_head(db, leaf.source, leaf.branch)):
            pinned[leaf.source, leaf.branch] = commit
    return pinned
