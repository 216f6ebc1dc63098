"""What the kernel must forget when versions of files are forgotten. It takes a finished commit for what it is for ever."""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from appliance.errors import ApplianceError
from appliance.mount import nodes
from appliance.mount.inodes import Inode, Inodes
from appliance.mount.nodes import Directory
from appliance.names import parents
from appliance.store import Db

_Wrong = dict[tuple[str, str], set[str]]


def iter_names(db: Db, inodes: Inodes, forgotten: Iterable[tuple[str, str]]) -> Iterator[tuple[Inode, bytes]]:
    """Yield (directory, name) for each name that the kernel may have wrong after versions of (repo, path) were forgotten.

    Costs what the kernel holds and what was forgotten, not their product.
    """
    wrong = _group(forgotten)
    for number, node in inodes.items():
        if isinstance(node, Directory):
            for name in wrong.get((node.repo, node.path), ()):
                if _is_wrong(db, node, name):
                    yield number, name.encode()


def _group(forgotten: Iterable[tuple[str, str]]) -> _Wrong:
    """Return the names below each (repo, directory)."""
    wrong: _Wrong = defaultdict(set)
    for repo, path in forgotten:
        for below in (*parents(path), path.rstrip("/")):
            directory, _, name = below.rpartition("/")
            wrong[repo, directory or "/"].add(name)
    return wrong


def _is_wrong(db: Db, parent: Directory, name: str) -> bool:
    """Tell whether a name is to be forgotten: a directory that is still there is left to those who work in it."""
    try:
        found = nodes.find_child(db, parent, name.encode())
    except ApplianceError:
        return True
    return found is None or not isinstance(found.node, Directory)
