"""Names at the top of the mount and of its views: what each leads to, and how people write what a view shows. Pure.

The grammar is Pachyderm's `mount -r`: `repo[@branch[=commit]][:path][+r|+w|+rw]`. There `+rw` gave a view that could only be
read, and a commit had no effect; here both mean what they say.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from appliance.errors import InvalidRequest
from appliance.names import DEFAULT_BRANCH, Revision, is_commit_id, parse_reference, parse_revision

_MODES = "rw"


@dataclass(frozen=True, slots=True)
class Top:
    """A name at the top. Without a revision it is what readers of `master` see, and empty where there is no `master`.

    `view` is the number of the view it is in, 0 for the mount itself. Of what it leads to it shows `path`, what is below
    that, and the directories above. `writable` says that changes were asked for, not that they are possible.
    """

    repo: str
    revision: str | None = None
    view: int = 0
    path: str = "/"
    writable: bool = False

    def __str__(self) -> str:
        """Return it as it is named in the mount itself."""
        return self.repo if self.revision is None else f"{self.repo}@{self.revision}"

    @property
    def name(self) -> str:
        """What it is called where it stands: in a view, by its repo alone."""
        return self.repo if self.view else str(self)

    @property
    def branch(self) -> str:
        """The branch, if it is one."""
        return self.revision or DEFAULT_BRANCH

    @property
    def is_branch(self) -> bool:
        """Whether it leads to a branch, not to a commit or an ancestor."""
        return not is_commit_id(self.branch) and parse_revision(self.branch) == Revision(self.branch)

    @property
    def can_move(self) -> bool:
        """Whether it may come to lead to another commit: all but those by commit id may."""
        return self.revision is None or not is_commit_id(parse_revision(self.revision).name)

    def is_visible(self, path: str) -> bool:
        """Tell whether it shows what is at a path."""
        return self.path == "/" or is_within(path, self.path) or is_within(self.path, path)


def is_within(path: str, directory: str) -> bool:
    """Tell whether a path is a directory or below it."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def parse_top(name: str) -> Top:
    """Return what a name in the mount itself leads to; there need not be such a thing."""
    repo, at, revision = name.partition("@")
    return Top(repo, revision if at else None)


def parse_spec(text: str) -> Top:
    """Parse what a view is to show. Raises InvalidRequest, InvalidName."""
    reference, plus, mode = text.rpartition("+")
    if not plus:
        reference, mode = text, "r"
    unknown = mode.strip(_MODES)
    if unknown or not mode:
        raise InvalidRequest(f"invalid format \"{text}\": unrecognized mode: '{unknown[:1]}'")
    found = parse_reference(reference)
    top = Top(found.repo, found.revision, path=(found.path or "/").rstrip("/") or "/", writable="w" in mode)
    parse_revision(found.revision)
    if top.writable:
        _check_writable(top)
    return top


def _check_writable(top: Top) -> None:
    if not top.is_branch:
        raise InvalidRequest(f"can't mount commit {top} as {top.repo} in Write mode (mount a branch instead)")
    if top.path != "/":
        # What is created beside it would be there and not be seen.
        raise InvalidRequest(f"can't mount path {top.path} of {top} as {top.repo} in Write mode (mount a branch instead)")


def parse_specs(texts: Sequence[str]) -> tuple[Top, ...]:
    """Parse all that a view is to show. Raises as `parse_spec`, and InvalidRequest where two would have one name."""
    tops = tuple(map(parse_spec, texts))
    names = [top.repo for top in tops]
    for name in names:
        if names.count(name) > 1:
            raise InvalidRequest(f"mount at '{name}' already in use")
    return tops
