"""What stands where below the mount: names to nodes, nodes to their attributes. Pure over the store.

    /                        Root        the user's repos
    /<repo>                  Directory   the commit that readers of `master` see
    /<repo>@<revision>       Directory   the commit of a branch, an id, an ancestor; not listed
    /.view-<number>          View        what is shown at a further mount point; not listed
    /.view-<number>/<repo>   Directory   as above
    /<repo>…/a/b             Directory or File of that commit
    /.jobs/…                 JobDirectory, see `jobs`; not listed
                             Place, for each of them in a writable branch

A node is what a number in the kernel means for as long as the kernel holds it. So it names its commit by id and looks it
up each time it is asked: rows can be used again after a repo is deleted, and an open commit changes while it stays the
same commit.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from appliance.errors import BranchNotFound, InvalidName, InvalidRequest, NotFound
from appliance.mount.tops import Top, is_within, parse_top
from appliance.names import CommitId
from appliance.store import blobs, listings, pages, repos, snapshots
from appliance.store.commits import get_commit, get_repo_id
from appliance.store.database import Db
from appliance.store.overlays import Origin
from appliance.store.pages import Item
from appliance.store.pages import Version as File  # shared by all commits that have it
from appliance.store.snapshots import EMPTY, Entry, Snapshot

Key = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Root:
    """The mount point itself; `modified_ns` is when it was mounted."""

    modified_ns: int

    @property
    def key(self) -> Key:
        """What makes a node the same node."""
        return ()


@dataclass(frozen=True, slots=True)
class View:
    """The top of a view: the names that were asked for, or all repos where none was; `modified_ns` is when it was made."""

    number: int
    modified_ns: int
    tops: tuple[Top, ...] = ()
    writable: bool = False

    @property
    def key(self) -> Key:
        """What makes a node the same node."""
        return ("view", self.number, self.modified_ns)

    @property
    def name(self) -> str:
        """What it is called in the mount."""
        return f".view-{self.number}"

    def shows(self, repo: str, branch: str) -> bool:
        """Tell whether it shows a branch, the whole of it."""
        top = self.parse(repo)
        return top is not None and (top.repo, top.branch, top.path) == (repo, branch, "/")

    def parse(self, name: str) -> Top | None:
        """Return what a name in it leads to, None for names that it can not have."""
        if not self.tops:
            return None if "@" in name else Top(name, view=self.number, writable=self.writable)
        return next((top for top in self.tops if top.repo == name), None)


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory of a commit, reached by the name `top`. Without a commit it is empty: there is nothing to read yet.

    `top` is part of it because the kernel allows a directory one place only: were `data` and `data@master` the same
    node, each look at one would move the other, and with it the working directories in it.
    """

    top: Top
    commit: CommitId | None
    path: str

    @property
    def key(self) -> Key:
        """What makes a node the same node."""
        return (self.top.view, str(self.top), self.commit or "", self.path)

    @property
    def repo(self) -> str:
        """The repo that `top` names."""
        return self.top.repo


@dataclass(frozen=True, slots=True)
class Place:
    """A file or directory of a writable branch, reached by the name `top`; see `store.overlays` for origins."""

    top: Top
    origin: Origin
    is_directory: bool

    @property
    def key(self) -> Key:
        """What makes a node the same node."""
        return ("w", self.top.view, str(self.top), self.origin)

    @property
    def thing(self) -> tuple[str, str, Origin]:
        """What it is, by whatever name at the top it was reached."""
        return self.top.repo, self.top.branch, self.origin


@dataclass(frozen=True, slots=True)
class JobDirectory:
    """A directory of what datums are given, see `jobs`: of all jobs, one job, one datum, or a path in what that is given."""

    job: str = ""
    datum: str = ""
    path: str = ""

    @property
    def key(self) -> Key:
        """What makes a node the same node."""
        return ("job", self.job, self.datum, self.path)


Fixed = Root | View | Directory | File | JobDirectory
Node = Fixed | Place


@dataclass(frozen=True, slots=True)
class Found:
    """A node as it is now. `name_lasts`: nobody will ever find another node by this name, or the kernel is told.

    `attributes_last`: they never change.
    """

    node: Fixed
    modified_ns: int
    name_lasts: bool = True
    attributes_last: bool = True


@dataclass(frozen=True, slots=True)
class Page:
    """Some names in a directory, in their order, up to its end if it `is_last`.

    `is_fixed`: they and what they lead to never change. `modified_ns` is that of all directories among them.
    """

    directory: Directory
    items: Sequence[Item]
    is_last: bool
    is_fixed: bool
    modified_ns: int
    snapshot: Snapshot = EMPTY

    def find(self, item: Item) -> Found:
        """Return what one of its names leads to."""
        if item.file is not None:
            return Found(item.file, item.file.modified_ns, name_lasts=self.is_fixed)
        below = Directory(self.directory.top, self.directory.commit, _join(self.directory.path, item.mark[:-1]))
        return Found(below, self.modified_ns, name_lasts=self.is_fixed, attributes_last=self.is_fixed)


class Gone(NotFound):
    """What the kernel holds was taken out of history.

    It is no name that is not there (ENOENT), but a name that leads somewhere else now or nowhere: told so (ESTALE), the
    kernel asks for the whole path once more, and a program that reads a directory gets an error and not an empty one.
    """


def describe(db: Db, node: Root | View | Directory | File) -> Found:
    """Return a node as it is now. Raises Gone if its commit is."""
    if isinstance(node, View):
        return Found(node, node.modified_ns, name_lasts=False)
    if isinstance(node, Root):
        return Found(node, node.modified_ns)
    if isinstance(node, File):
        return Found(node, node.modified_ns)
    return _describe_directory(db, node, _open(db, node))


def find_child(db: Db, parent: Root | View | Directory, name: bytes) -> Found | None:
    """Return what has a name in a directory, None for nothing and for what can be no name.

    Raises Conflict for a commit of a pipeline that is still at work, Gone if the parent's commit is.
    """
    try:
        text = name.decode()
    except UnicodeDecodeError:
        return None
    if isinstance(parent, Directory):
        return _find_below(db, parent, text)
    top = parent.parse(text) if isinstance(parent, View) else parse_top(text)
    return _find_top(db, top) if top is not None else None


def iter_tops(db: Db, parent: Root | View, after: str) -> Iterator[tuple[str, Found]]:
    """Yield what is listed at the top behind the name `after`, in the order of names."""
    if isinstance(parent, View) and parent.tops:
        names = sorted(top.repo for top in parent.tops)
    else:
        names = sorted(repo.name for repo in repos.iter_repos(db))
    for name in names:
        found = find_child(db, parent, name.encode()) if name > after else None
        if found is not None:
            yield name, found


def read_page(db: Db, directory: Directory, start: str, limit: int) -> Page:
    """Return up to `limit` names of a directory from `start` on. Raises Gone as `describe`."""
    return _read_page(db, directory, _open(db, directory), start, limit)


def find_fixed_page(db: Db, directory: Directory, start: str, limit: int) -> Page | None:
    """Return the same of a directory that never changes; None for another. Raises Gone as `describe`."""
    snapshot = _open(db, directory)
    is_open = snapshot.commit is not None and snapshot.commit.finished_ns is None
    return None if is_open or snapshot.is_made_up else _read_page(db, directory, snapshot, start, limit)


def find_tip_page(db: Db, directory: Directory, snapshot: Snapshot, start: str, limit: int) -> Page | None:
    """Return the same in one question, from the snapshot of an earlier page of its commit; None if that does not tell."""
    if snapshot.commit is None or snapshot.commit.finished_ns is None or not is_within(directory.path, directory.top.path):
        return None
    items = pages.read_tip_page(db, snapshot, directory.path, start, limit)
    return (
        Page(directory, items, len(items) < limit, True, snapshot.commit.finished_ns, snapshot) if items is not None else None
    )


def _read_page(db: Db, directory: Directory, snapshot: Snapshot, start: str, limit: int) -> Page:
    described = _describe_directory(db, directory, snapshot)
    is_fixed = described.attributes_last and not snapshot.is_made_up
    if is_within(directory.path, directory.top.path):
        items = pages.read_page(db, snapshot, directory.path, start, limit)
        return Page(directory, items, len(items) < limit, is_fixed, described.modified_ns, snapshot)
    return Page(directory, _list_above(db, directory, snapshot, start), True, is_fixed, described.modified_ns)


def get_entry(db: Db, file: File) -> Entry:
    """Return what the store says of a version of a file. Raises Gone if no commit has it any more."""
    entry = file.entry or snapshots.find_row(db, file.row, file.modified_ns)
    if entry is None:
        raise Gone("this version of the file was overwritten, or taken out of history")
    return entry


def resolve(db: Db, top: Top) -> CommitId | None:
    """Return the commit that a name at the top means now. Raises ApplianceError kinds if it means none any more."""
    return _root_of(top, _open_top(db, top)).commit


def list_attributes(db: Db, node: Fixed) -> Mapping[bytes, bytes]:
    """Return the extended attributes of a node. Raises Gone if its commit is.

    A file's commit is the one that made this version of it.
    """
    if isinstance(node, File):
        return list_file_attributes(db, get_entry(db, node))
    if isinstance(node, Directory) and node.commit is not None:
        return {b"user.pfs.commit": node.commit.encode()}
    return {}


def list_file_attributes(db: Db, entry: Entry) -> Mapping[bytes, bytes]:
    """The same of a version of a file."""
    found = {b"user.pfs.commit": get_version(db, entry).encode(), b"user.pfs.etag": entry.content.etag.encode()}
    # A list of extents has a digest too, but it is not that of the bytes.
    if entry.content.blob_id is not None:
        found[b"user.pfs.digest"] = blobs.get_digest(db, entry.content).hex().encode()
    return found


def get_version(db: Db, entry: Entry) -> CommitId:
    """Return the commit that made a version of a file. Raises Gone if no commit has it any more."""
    found = snapshots.get_version(db, entry)
    if not found:
        raise Gone(f"this version of {entry.path} was taken out of history")
    return found


def _open(db: Db, directory: Directory) -> Snapshot:
    if directory.commit is None:
        return EMPTY
    try:
        commit = get_commit(db, directory.repo, directory.commit)
    except NotFound as error:
        raise Gone(str(error)) from None
    if commit.id != directory.commit:  # a relative in the same commit set
        raise Gone(f"commit {directory.repo}@{directory.commit} not found")
    return snapshots.open_commit(db, commit)


def _describe_directory(db: Db, directory: Directory, snapshot: Snapshot) -> Found:
    commit = snapshot.commit
    if commit is None:
        return _describe_empty(db, directory)
    if commit.finished_ns is None:
        return Found(directory, commit.started_ns, name_lasts=directory.path == "/", attributes_last=False)
    # What datums saw goes with their job, and nobody tells the kernel.
    lasts = directory.path == "/" or not snapshot.is_made_up
    return Found(directory, commit.finished_ns, name_lasts=lasts)


def _describe_empty(db: Db, directory: Directory) -> Found:
    try:
        return Found(directory, repos.get_created_ns(db, directory.repo))
    except NotFound as error:
        raise Gone(str(error)) from None


def _describe_file(entry: Entry, snapshot: Snapshot) -> Found:
    is_open = snapshot.commit is not None and snapshot.commit.is_open
    lasts = not is_open and not snapshot.is_made_up
    version = pages.version_of(entry, snapshot)
    # In an open commit it may be overwritten before it is opened, again and again: the kernel looks but once more.
    return Found(version if lasts else version._replace(entry=entry), entry.modified_ns, name_lasts=lasts)


def _find_top(db: Db, top: Top) -> Found | None:
    try:
        snapshot = _open_top(db, top)
    except (NotFound, InvalidName, InvalidRequest):
        return None
    return _describe_directory(db, _root_of(top, snapshot), snapshot)


def _open_top(db: Db, top: Top) -> Snapshot:
    if top.revision is not None and not (top.view and top.is_branch):
        return snapshots.open_revision(db, top.repo, top.revision)
    get_repo_id(db, top.repo)
    try:
        return snapshots.open_branch(db, top.repo, top.branch)
    except BranchNotFound:
        return EMPTY


def _root_of(top: Top, snapshot: Snapshot) -> Directory:
    return Directory(top, snapshot.commit.id if snapshot.commit else None, "/")


def find_at(db: Db, directory: Directory, path: str) -> Found | None:
    """Return what is at a path of a directory's commit, None for nothing. Raises Gone as `describe`."""
    return _find(db, directory, _open(db, directory), path)


def _find_below(db: Db, parent: Directory, name: str) -> Found | None:
    path = _join(parent.path, name)
    return _find(db, parent, _open(db, parent), path) if parent.top.is_visible(path) else None


def _find(db: Db, parent: Directory, snapshot: Snapshot, path: str) -> Found | None:
    entry = snapshots.find(db, snapshot, path)
    if entry is not None:
        return _describe_file(entry, snapshot)
    if listings.is_directory(db, snapshot, path):
        return _describe_directory(db, Directory(parent.top, parent.commit, path), snapshot)
    return None


def _join(directory: str, name: str) -> str:
    return f"{directory.rstrip('/')}/{name}"


def _list_above(db: Db, parent: Directory, snapshot: Snapshot, start: str) -> list[Item]:
    """Return the one name in a directory above the path that is shown."""
    name = parent.top.path[len(parent.path.rstrip("/")) + 1 :].partition("/")[0]
    found = _find(db, parent, snapshot, _join(parent.path, name)) if start <= name else None
    if found is None:
        return []
    return [Item(name, found.node) if isinstance(found.node, File) else Item(name + "/", None)]
