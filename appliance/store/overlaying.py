"""An overlay becomes a commit: what it changed, what has changed there meanwhile, and putting the one over the other."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal

from appliance.errors import Conflict
from appliance.names import CommitId
from appliance.store import files, history, listings, overlays, snapshots, staging
from appliance.store.commits import Commit
from appliance.store.database import Db
from appliance.store.diffs import iter_diff
from appliance.store.overlays import Item, Node, NodeKind, View, join
from appliance.store.snapshots import freeze

_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Staged:
    """A change that waits; a directory stands for what is in it."""

    what: Literal["added", "changed", "moved", "removed", "not kept"]
    path: str
    is_link: bool = False


def iter_nodes(db: Db, view: View) -> Iterator[tuple[str, Node, str | None]]:
    """Yield (path, row, path in the base that the row hides) for every row, directories before what is in them."""
    root = overlays.find_node(db, view, "/")
    pending = [("/", root)] if root else []
    while pending:
        path, parent = pending.pop()
        for node in overlays.iter_named(db, parent):
            below = join(path, node.name)
            hidden = below if parent.base_path == path else None
            yield below, node, hidden
            if node.kind == NodeKind.DIRECTORY:
                pending.append((below, node))


def iter_staged(db: Db, view: View) -> Iterator[Staged]:
    """Yield what is staged."""
    for path, node, hidden in iter_nodes(db, view):
        in_base = hidden is not None and _is_in_base(db, view, hidden)
        if node.base_path == path:
            if node.has_bytes:
                yield Staged("changed", path)
            continue
        if in_base:
            yield Staged("removed", path)
        if node.kind == NodeKind.SPECIAL:
            yield Staged("not kept", path)
        elif node.kind != NodeKind.NOTHING:
            is_link = node.kind == NodeKind.LINK
            yield Staged("added" if node.base_path is None else "moved", path, is_link)


def iter_conflicts(db: Db, view: View) -> Iterator[str]:
    """Yield the paths that are changed here and were changed in the branch since."""
    for before, after in iter_diff(db, view.base, overlays.open_head(db, view.repo, view.branch)):
        entry = after or before
        assert entry is not None
        if _touches(db, view, entry.path):
            yield entry.path


def _touches(db: Db, view: View, path: str) -> bool:
    node = overlays.find_node(db, view, "/")
    below = "/"
    for name in path.strip("/").split("/"):
        node = overlays.find_named(db, node, name) if node else None
        if node is None:
            return False
        below = join(below, name)
        is_new = node.base_path is None and not _is_in_base(db, view, below)
        if node.kind != NodeKind.DIRECTORY or not (is_new or node.base_path == below):
            return True
    return not path.endswith("/")


def _is_in_base(db: Db, view: View, path: str) -> bool:
    return snapshots.find(db, view.base, path) is not None or listings.is_directory(db, view.base, path)


def put(db: Db, view: View, put_id: str, *, overwrite: bool = False) -> CommitId:
    """Put everything that an overlay changed, the bytes of its files as staged, in one commit; return its id.

    Raises Conflict, naming paths, if the branch has changed there since, unless that is to be overwritten; PathConflict if
    the changes do not go together. Then everything is as before. Costs what was changed, and what is in moved directories.
    """
    if not overwrite and (found := list(islice(iter_conflicts(db, view), _SHOWN + 1))):
        more = " …" if len(found) > _SHOWN else ""
        paths = ", ".join(found[:_SHOWN])
        raise Conflict(f"{view.repo}@{view.branch} has changed meanwhile where changes are staged: {paths}{more}")
    view = replace(view, base=freeze(view.base))
    writing = history.begin_write(db, view.repo, view.branch)
    for path, node, hidden in iter_nodes(db, view):
        if hidden is not None and node.base_path != path:
            _remove(db, writing.commit, path)
    for path, node, _ in iter_nodes(db, view):
        _place(db, view, writing.commit, path, node)
    staging.put_staged(db, put_id, writing.commit)
    staging.discard_put(db, put_id)
    history.end_write(db, writing)
    return writing.commit.id


def _remove(db: Db, commit: Commit, path: str) -> None:
    files.delete_path(db, commit, path)
    files.delete_tree(db, commit, path)


def _place(db: Db, view: View, commit: Commit, path: str, node: Node) -> None:
    """Put what needs no new bytes: what was moved, and directories that would not be there without it."""
    content_path = node.content_path
    if content_path is not None and node.base_path != path:
        entry = snapshots.get_file(db, view.base, content_path)
        files.put_file(db, commit, path, entry.content, entry.metadata)
    if node.kind != NodeKind.DIRECTORY:
        return
    moved_from = node.base_path if node.base_path != path else None
    if moved_from is not None:
        for child in listings.iter_children(db, view.base, moved_from):
            if overlays.find_named(db, node, child.name) is None:
                files.copy_tree(db, view.base, join(moved_from, child.name), commit, join(path, child.name))
    if not any(_is_kept(child) for _, _, child in overlays.iter_children(db, view, node.origin)):
        files.make_directory(db, commit, path + "/")


def _is_kept(item: Item) -> bool:
    """Tell whether something makes the directory it is in be there. What becomes of links is not known here."""
    return item.node is None or item.node.kind in (NodeKind.FILE, NodeKind.DIRECTORY)
