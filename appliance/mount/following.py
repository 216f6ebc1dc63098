"""What a commit keeps of symbolic links: the content of what they lead to, as long as that is in the same branch.

Pachyderm does so too. We follow the links ourselves, name by name in what the branch shows: the kernel would lead us
wherever somebody has pointed one, with our rights.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from appliance.mount.staged import StagedFiles
from appliance.store import Db, overlays
from appliance.store.overlays import Item, NodeKind, View, join

_LINKS = 40  # as many as Linux follows


@dataclass(frozen=True, slots=True)
class Following:
    """What is needed to follow links in a branch. `roots` are the absolute paths that programs know it by."""

    db: Db
    view: View
    files: StagedFiles
    roots: Sequence[str] = ()

    def find(self, path: str) -> Item | None:
        """Return the file or directory that the link at a path leads to; None for nothing, or nothing in the branch."""
        directory, name = overlays.split(path)
        return self._walk([name], self._open(directory), _LINKS)

    def iter_files(self, path: str) -> Iterator[tuple[str, Item]]:
        """Yield (path, file) of all that a commit keeps for the link at a path.

        Of a directory all that is in it, links to files too. Links to directories in there are not followed on: they could
        lead round in circles, or multiply.
        """
        found = self.find(path)
        if found is not None and found.is_directory:
            yield from self._iter_below(found, path)
        elif found is not None:
            yield path, found

    def _iter_below(self, directory: Item, path: str) -> Iterator[tuple[str, Item]]:
        pending = [(path, directory)]
        while pending:
            above, parent = pending.pop()
            for name, _, child in overlays.iter_children(self.db, self.view, parent.origin):
                below = join(above, name)
                if child.is_directory:
                    pending.append((below, child))
                elif (found := self._follow(parent, name, child)) is not None:
                    yield below, found

    def _follow(self, directory: Item, name: str, child: Item) -> Item | None:
        """Return what of a child of a directory is kept as a file."""
        if not _is_link(child):
            return None if _is_special(child) else child
        place = overlays.get_path(self.db, self.view, directory.origin)
        found = self._walk([name], self._open(place), _LINKS)
        return found if found is not None and not found.is_directory else None

    def _open(self, path: str) -> list[Item]:
        """Return the directories from the top of the branch to one that is there."""
        passed = [Item("/", is_directory=True)]
        for name in path.strip("/").split("/") if path != "/" else ():
            found = overlays.find_child(self.db, self.view, passed[-1].origin, name)
            assert found is not None, f"{path} is staged and not there"
            passed.append(found)
        return passed

    def _walk(self, names: list[str], passed: list[Item], links: int) -> Item | None:
        """Follow names from the last of the directories that were passed."""
        while names:
            name = names.pop(0)
            if name == "..":
                passed.pop()
                if not passed:
                    return None
                continue
            if name in ("", "."):
                continue
            found = overlays.find_child(self.db, self.view, passed[-1].origin, name)
            if found is None or _is_special(found):
                return None
            if not _is_link(found):
                if not found.is_directory:
                    return found if not names else None
                passed.append(found)
                continue
            target = self._read(found)
            links -= 1
            if links < 0 or target is None:
                return None
            if target.startswith("/"):
                inside = self._find_inside(target)
                if inside is None:
                    return None
                del passed[1:]
                target = inside
            names = [*target.split("/"), *names]
        return passed[-1]

    def _read(self, link: Item) -> str | None:
        assert link.node is not None, f"{link} is a link of the base"
        assert link.node.file is not None, f"{link} leads nowhere"
        try:
            return os.readlink(os.fsencode(self.files.path(link.node.file))).decode()  # noqa: PTH115 - bytes of any kind
        except UnicodeDecodeError:
            return None

    def _find_inside(self, target: str) -> str | None:
        for root in self.roots:
            if (target + "/").startswith(root + "/"):
                return target[len(root) :]
        return None


def _is_link(item: Item) -> bool:
    return item.node is not None and item.node.kind == NodeKind.LINK


def _is_special(item: Item) -> bool:
    return item.node is not None and item.node.kind == NodeKind.SPECIAL
