"""Trees that are being changed over a commit that stays: what the mount shows of a writable branch.

Only what differs has a row. An *origin* is what makes a thing the same thing for as long as the overlay lasts: its path in
the base, wherever it was moved, or the number of its row if it is new. So renaming or removing a directory costs the same
whatever is in it. Bytes are in files that the mount writes; here are only their names.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import IntEnum
from heapq import merge
from operator import itemgetter

from appliance.errors import BranchNotFound, Conflict, FileNotFound
from appliance.names import CommitId, check_path
from appliance.store import history, listings, snapshots
from appliance.store.commits import get_commit, get_repo_id
from appliance.store.database import Db
from appliance.store.snapshots import EMPTY, Entry, Snapshot

Origin = str | int


class NodeKind(IntEnum):
    """What a row says about its name."""

    NOTHING = 0
    FILE = 1
    DIRECTORY = 2
    LINK = 3  # a symbolic one
    SPECIAL = 4  # a pipe, socket or device


@dataclass(frozen=True, slots=True)
class Node:
    """A row."""

    row: int
    parent: int | None
    name: str
    kind: NodeKind
    base_path: str | None
    file: str | None
    same_as: Origin | None = None
    is_hollow: bool = False

    @property
    def origin(self) -> Origin:
        """What it is, wherever it was moved, under whichever of its names."""
        if self.same_as is not None:
            return self.same_as
        return self.row if self.base_path is None else self.base_path

    @property
    def has_bytes(self) -> bool:
        """Whether it is a file that was written."""
        return self.kind == NodeKind.FILE and self.file is not None and not self.is_hollow

    @property
    def content_path(self) -> str | None:
        """Where in the base its bytes are, if it is a file that was not written."""
        if self.kind != NodeKind.FILE or self.has_bytes:
            return None
        return self.same_as if isinstance(self.same_as, str) else self.base_path


@dataclass(frozen=True, slots=True)
class View:
    """A writable branch as it shows: its base and, once something was changed, the overlay's row."""

    repo: str
    branch: str
    base: Snapshot
    overlay: int | None


@dataclass(frozen=True, slots=True)
class Item:
    """A file or directory of a view. The bytes of a file are those of `entry`, if there is one, or of what its node names."""

    origin: Origin
    is_directory: bool
    node: Node | None = None
    entry: Entry | None = None


_Row = tuple[int, int | None, str, int, str | None, str | None, Origin | None, int]
_COLUMNS = "id, parent_id, name, kind, base_path, file, same_as, is_hollow"
_MARK = "(name || iif(kind = 2, '/', ''))"  # as the index `overlay_nodes_mark` has it


def open_view(db: Db, repo: str, branch: str) -> View:
    """Return what a branch shows. Raises RepoNotFound, and CommitNotFound if the base of what is staged is gone."""
    row = db.row("SELECT id, base FROM overlays WHERE repo_id = ? AND branch = ?", (get_repo_id(db, repo), branch))
    if row is None:
        return View(repo, branch, open_head(db, repo, branch), None)
    overlay, base = row
    return View(repo, branch, snapshots.open_commit(db, get_commit(db, repo, base)) if base else EMPTY, overlay)


def open_without_base(db: Db, repo: str, branch: str) -> View:
    """Return only what is staged, over nothing."""
    sql = "SELECT id FROM overlays WHERE repo_id = ? AND branch = ?"
    return View(repo, branch, EMPTY, db.value(sql, (get_repo_id(db, repo), branch)))


def open_head(db: Db, repo: str, branch: str) -> Snapshot:
    """Return what readers of a branch see; nothing if there is no such branch."""
    try:
        return snapshots.open_branch(db, repo, branch)
    except BranchNotFound:
        return EMPTY


def begin(db: Db, repo: str, branch: str) -> View:
    """Return a view that can be changed. Raises OutputBranch, and Conflict while the head is an open commit."""
    view = open_view(db, repo, branch)
    if view.overlay is not None:
        return view
    history.check_branch_writable(db, repo, branch)
    commit = view.base.commit
    if commit is not None and commit.is_open:
        raise Conflict(f"commit {repo}@{commit.id} has not been finished")
    sql = "INSERT INTO overlays (repo_id, branch, base, created_ns) VALUES (?, ?, ?, ?)"
    base = commit.id if commit else None
    overlay = db.execute(sql, (get_repo_id(db, repo), branch, base, time.time_ns())).lastrowid
    changed = View(repo, branch, view.base, overlay)
    _insert(db, changed, None, "", NodeKind.DIRECTORY, "/")
    return changed


def list_views(db: Db) -> list[tuple[str, str, CommitId | None]]:
    """Return (repo, branch, base) of everything that is staged."""
    sql = (
        "SELECT r.name, o.branch, o.base FROM overlays o JOIN repos r ON r.id = o.repo_id WHERE r.kind = 'user' ORDER BY 1, 2"
    )
    return db.execute(sql).fetchall()


def list_files(db: Db) -> set[str]:
    """Return the names of all that is kept outside: bytes, and attributes of directories."""
    return {file for (file,) in db.execute("SELECT file FROM overlay_nodes WHERE file IS NOT NULL")}


def discard(db: Db, repo: str, branch: str) -> list[str] | None:
    """Forget what is staged and return the names of the files that held its bytes; None if nothing is. Needs no base."""
    sql = "SELECT id FROM overlays WHERE repo_id = ? AND branch = ?"
    overlay = db.value(sql, (get_repo_id(db, repo), branch))
    if overlay is None:
        return None
    sql = "SELECT file FROM overlay_nodes WHERE overlay_id = ? AND file IS NOT NULL"
    files = [file for (file,) in db.execute(sql, (overlay,))]
    db.execute("DELETE FROM overlay_nodes WHERE overlay_id = ?", (overlay,))
    db.execute("DELETE FROM overlays WHERE id = ?", (overlay,))
    return files


# -- reading


def find_node(db: Db, view: View, origin: Origin) -> Node | None:
    """Return the row of a thing, or of another of its names; None if it has none."""
    column = "id" if isinstance(origin, int) else "base_path"
    sql = f"SELECT {_COLUMNS} FROM overlay_nodes WHERE overlay_id = ? AND {column} = ?"
    row = db.row(sql, (view.overlay, origin))
    if row is None and view.overlay is not None:
        sql = f"SELECT {_COLUMNS} FROM overlay_nodes WHERE overlay_id = ? AND same_as = ? LIMIT 1"
        row = db.row(sql, (view.overlay, origin))
    return _node(row)


def find_named(db: Db, parent: Node, name: str) -> Node | None:
    """Return the row of a name in a directory, also one that says that there is nothing."""
    return _node(db.row(f"SELECT {_COLUMNS} FROM overlay_nodes WHERE parent_id = ? AND name = ?", (parent.row, name)))


def _node(row: _Row | None) -> Node | None:
    return None if row is None else _to_node(row)


def _to_node(row: _Row) -> Node:
    return Node(row[0], row[1], row[2], NodeKind(row[3]), row[4], row[5], row[6], bool(row[7]))


def iter_named(db: Db, parent: Node, after: str = "") -> Iterator[Node]:
    """Yield the rows in a directory behind a name."""
    sql = f"SELECT {_COLUMNS} FROM overlay_nodes WHERE parent_id = ? AND name > ? ORDER BY name"
    for row in db.execute(sql, (parent.row, after)):
        yield _to_node(row)


def find_item(db: Db, view: View, origin: Origin) -> Item | None:
    """Return a thing as it is; one of the base also after it was removed, for those who still hold it."""
    node = find_node(db, view, origin)
    if node is not None:
        return _item(db, view, node)
    return _find_base(db, view, origin) if isinstance(origin, str) else None


def _item(db: Db, view: View, node: Node) -> Item:
    path = node.content_path
    entry = snapshots.find(db, view.base, path) if path is not None else None
    return Item(node.origin, node.kind == NodeKind.DIRECTORY, node, entry)


def _find_base(db: Db, view: View, path: str) -> Item | None:
    entry = snapshots.find(db, view.base, path) if path != "/" else None
    if entry is not None:
        return Item(path, is_directory=False, entry=entry)
    return Item(path, is_directory=True) if listings.is_directory(db, view.base, path) else None


def find_child(db: Db, view: View, parent: Origin, name: str) -> Item | None:
    """Return what has a name in a directory. Raises FileNotFound for a directory that is gone."""
    node, base = _open_directory(db, view, parent)
    named = find_named(db, node, name) if node else None
    if named is not None:
        return _item(db, view, named) if named.kind != NodeKind.NOTHING else None
    return _find_base(db, view, join(base, name)) if base is not None else None


def _open_directory(db: Db, view: View, origin: Origin) -> tuple[Node | None, str | None]:
    """Return the row of a directory and where it stands in the base, None for either if it has none."""
    node = find_node(db, view, origin)
    if node is not None:
        return node, node.base_path
    if isinstance(origin, int):
        raise FileNotFound("this directory was removed")
    return None, origin


def iter_children(db: Db, view: View, parent: Origin, after: str = "") -> Iterator[tuple[str, str, Item]]:
    """Yield (name, mark, child) of a directory behind the mark `after`.

    The order is that of the base, by names with the slash of directories counted, whatever was changed: so one who lists
    finds everything once, also if files are written or all is committed meanwhile.
    """
    node, base = _open_directory(db, view, parent)
    new = _iter_new(db, view, node, base, after) if node is not None else iter(())
    old = _iter_old(db, view, node, base, after) if base is not None else iter(())
    return merge(new, old, key=itemgetter(1))


def _iter_new(db: Db, view: View, node: Node, base: str | None, after: str) -> Iterator[tuple[str, str, Item]]:
    """Yield what is new in a directory or was moved there."""
    sql = f"SELECT {_COLUMNS}, {_MARK} FROM overlay_nodes WHERE parent_id = ? AND {_MARK} > ? ORDER BY {_MARK}"
    for *row, mark in db.execute(sql, (node.row, after)):
        named = _to_node(tuple(row))
        in_place = base is not None and named.base_path == join(base, named.name)
        if named.kind != NodeKind.NOTHING and not in_place:
            yield named.name, mark, _item(db, view, named)


def _iter_old(db: Db, view: View, node: Node | None, base: str, after: str) -> Iterator[tuple[str, str, Item]]:
    """Yield what stands where it stands in the base."""
    for child in listings.iter_children(db, view.base, base, after=after):
        path = join(base, child.name)
        row = find_named(db, node, child.name) if node else None
        mark = child.name if child.entry else f"{child.name}/"
        if row is None:
            yield child.name, mark, Item(path, child.entry is None, entry=child.entry)
        elif row.base_path == path:
            yield child.name, mark, _item(db, view, row)


def is_empty(db: Db, view: View, origin: Origin) -> bool:
    """Tell whether a directory shows nothing."""
    return next(iter_children(db, view, origin), None) is None


def get_path(db: Db, view: View, origin: Origin) -> str:
    """Return where a thing is now. Raises FileNotFound if it was removed."""
    node = find_node(db, view, origin)
    if node is None:
        if isinstance(origin, int):
            raise FileNotFound("this file was removed")
        if origin == "/":
            return "/"
        parent, name = split(origin)
        holder = find_node(db, view, parent)
        if holder is not None and find_named(db, holder, name) is not None:
            raise FileNotFound(f"{origin} was removed")
        return join(get_path(db, view, parent), name)
    return "/" if node.parent is None else join(get_path(db, view, _origin_of(db, view, node.parent)), node.name)


def _origin_of(db: Db, view: View, row: int) -> Origin:
    node = find_node(db, view, row)
    if node is None:
        raise FileNotFound("this directory was removed")
    return node.origin


# -- changing, in a view that `begin` has returned


def create(db: Db, view: View, parent: Origin, name: str, kind: NodeKind, file: str | None = None) -> Item:
    """Give a free name to something new. Raises InvalidPath, FileNotFound for a parent that is gone."""
    holder = _free_name(db, view, parent, name)
    return _item(db, view, _insert(db, view, holder.row, name, kind, None, file))


def link(db: Db, view: View, parent: Origin, name: str, other: Node, file: str) -> Item:
    """Give a free name to what has one, `other`; `file` is another name of what it has outside. Raises as `create`."""
    holder = _free_name(db, view, parent, name)
    made = _insert(db, view, holder.row, name, other.kind, None, file)
    sql = "UPDATE overlay_nodes SET same_as = ?, is_hollow = ? WHERE id = ?"
    db.execute(sql, (other.origin, other.is_hollow, made.row))
    return _item(db, view, replace(made, same_as=other.origin, is_hollow=other.is_hollow))


def _free_name(db: Db, view: View, parent: Origin, name: str) -> Node:
    """Return the row of a directory after a name in it was made free."""
    holder = _hold_directory(db, view, parent)
    check_path(join(get_path(db, view, parent), name))
    _delete_named(db, holder, name)
    return holder


def set_file(db: Db, view: View, item: Item, file: str, *, is_hollow: bool = False) -> Node:
    """Give something of the base attributes of its own and, unless it is hollow, bytes."""
    kind = NodeKind.DIRECTORY if item.is_directory else NodeKind.FILE
    node = _hold(db, view, item.origin, kind)
    db.execute("UPDATE overlay_nodes SET file = ?, is_hollow = ? WHERE id = ?", (file, is_hollow, node.row))
    return replace(node, file=file, is_hollow=is_hollow)


def set_filled(db: Db, view: View, origin: Origin) -> None:
    """Note that a hollow file, by all its names, has bytes of its own now."""
    sql = "UPDATE overlay_nodes SET is_hollow = 0 WHERE overlay_id = ?1 AND (base_path = ?2 OR same_as = ?2)"
    db.execute(sql, (view.overlay, origin))


def remove(db: Db, view: View, parent: Origin, name: str) -> None:
    """Remove a name; of a directory, one that is empty."""
    holder = _hold_directory(db, view, parent)
    _delete_named(db, holder, name)
    _hide(db, view, holder, name)


def rename(db: Db, view: View, item: Item, parent: Origin, name: str, new_parent: Origin, new_name: str) -> None:
    """Move a thing, over what has the new name. Raises InvalidPath."""
    holder, new_holder = _hold_directory(db, view, parent), _hold_directory(db, view, new_parent)
    check_path(join(get_path(db, view, new_parent), new_name))
    node = _hold_named(db, view, Named(item, parent, name))
    _delete_named(db, new_holder, new_name)
    db.execute("UPDATE overlay_nodes SET parent_id = ?, name = ? WHERE id = ?", (new_holder.row, new_name, node.row))
    _hide(db, view, holder, name)


@dataclass(frozen=True, slots=True)
class Named:
    """A thing and where it stands."""

    item: Item
    parent: Origin
    name: str


def exchange(db: Db, view: View, one: Named, other: Named) -> None:
    """Let two things change places."""
    first, second = _hold_named(db, view, one), _hold_named(db, view, other)
    sql = "UPDATE overlay_nodes SET parent_id = ?, name = ? WHERE id = ?"
    db.execute(sql, (None, first.name, first.row))  # a name is one thing's at a time
    db.execute(sql, (first.parent, first.name, second.row))
    db.execute(sql, (second.parent, second.name, first.row))


def _hold_named(db: Db, view: View, named: Named) -> Node:
    holder, item = _hold_directory(db, view, named.parent), named.item
    kind = NodeKind.DIRECTORY if item.is_directory else NodeKind.FILE
    return item.node or _insert(db, view, holder.row, named.name, kind, str(item.origin))


def _hold_directory(db: Db, view: View, origin: Origin) -> Node:
    return _hold(db, view, origin, NodeKind.DIRECTORY)


def _hold(db: Db, view: View, origin: Origin, kind: NodeKind) -> Node:
    """Return the row of a thing, made if need be with those above it. Raises FileNotFound if it was removed."""
    node = find_node(db, view, origin)
    if node is not None:
        return node
    if isinstance(origin, int):
        raise FileNotFound("this directory was removed")
    parent, name = split(origin)
    holder = _hold_directory(db, view, parent)
    if find_named(db, holder, name) is not None:
        raise FileNotFound(f"{origin} was removed")
    return _insert(db, view, holder.row, name, kind, origin)


def _insert(
    db: Db, view: View, parent: int | None, name: str, kind: NodeKind, base_path: str | None, file: str | None = None
) -> Node:
    sql = "INSERT INTO overlay_nodes (overlay_id, parent_id, name, kind, base_path, file) VALUES (?, ?, ?, ?, ?, ?)"
    row = db.execute(sql, (view.overlay, parent, name, int(kind), base_path, file)).lastrowid
    return Node(row or 0, parent, name, kind, base_path, file)


def _delete_named(db: Db, parent: Node, name: str) -> None:
    node = find_named(db, parent, name)
    if node is not None:  # what is below says only that there is nothing
        db.execute("DELETE FROM overlay_nodes WHERE parent_id = ? OR id = ?", (node.row, node.row))


def _hide(db: Db, view: View, parent: Node, name: str) -> None:
    """Say that there is nothing where the base has something."""
    if parent.base_path is not None and _find_base(db, view, join(parent.base_path, name)) is not None:
        _insert(db, view, parent.row, name, NodeKind.NOTHING, None)


def join(directory: str, name: str) -> str:
    """Return the path of a name in a directory."""
    return f"{directory.rstrip('/')}/{name}"


def split(path: str) -> tuple[str, str]:
    """Return the directory of a path and its name there."""
    directory, _, name = path.rpartition("/")
    return directory or "/", name
