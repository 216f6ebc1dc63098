"""Grammar of the names people type: repos, branches, commits, paths, buckets and references to them. Pure.

Rules and texts are Pachyderm's (`src/internal/ancestry`, `src/server/pfs/server`, `pfs.ValidateFilename`); what a path may
hold by default is wider, because real object keys are.
"""

import re
import uuid
from dataclasses import dataclass
from typing import NewType

from appliance.errors import CommitNotFound, InvalidName, InvalidPath, InvalidRequest, PathTooLong

CommitId = NewType("CommitId", str)
"""32 lowercase hex digits: a UUIDv4 without its dashes. Shared by a commit and everything that propagation makes of it."""

DEFAULT_BRANCH = "master"

_NAME = re.compile(r"[a-zA-Z0-9_-]+")
_META = ".meta"
_RESERVED = "__filesets__"  # Pachyderm reads temporary file sets under this name
_COMMIT_ID = re.compile(r"[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}")
_STRICT_PATH = re.compile(r"[ -~]+")
_GLOB_CHARACTERS = re.compile(r"[*?\[\]{}!()@+^]")
_SEGMENT_BYTES = 255
_PATH_BYTES = 4095


def new_commit_id() -> CommitId:
    """Return a fresh global id."""
    return CommitId(uuid.uuid4().hex)


def is_commit_id(text: str) -> bool:
    """Tell whether `text` has the form of a global id; it need not exist."""
    return _COMMIT_ID.fullmatch(text) is not None


def check_name(kind: str, name: str) -> str:
    """Return `name` if a repo or branch can have it, else raise InvalidName."""
    if not _NAME.fullmatch(name):
        message = f"{kind} name ({name}) invalid: only alphanumeric characters, underscores, and dashes are allowed"
        raise InvalidName(message)
    if kind == "repo" and name == _RESERVED:
        raise InvalidName(f"{name} is a reserved name")
    return name


def meta_repo(pipeline: str) -> str:
    """Return the name of the system repo that shows what the datums of a pipeline saw and wrote."""
    return pipeline + _META


def find_meta_owner(repo: str) -> str | None:
    """Return the pipeline that a system repo is of, None for a user's repo: nobody can make one with a dot in its name."""
    return repo.removesuffix(_META) if repo.endswith(_META) else None


def check_existing_repo(name: str) -> str:
    """Return `name` if a repo can have it, one of the system included, else raise InvalidName."""
    check_name("repo", find_meta_owner(name) or name)
    return name


def check_path(path: str, *, strict: bool = False) -> str:
    """Return `path` (`/a/b`, or `/a/` for a directory) if a file can have it, else raise InvalidPath.

    Strict is Pachyderm's rule: printable ASCII without glob characters. Otherwise anything a file system can show.
    """
    segments = path.removesuffix("/").split("/")[1:]
    if not path.startswith("/") or not segments or "" in segments:
        raise InvalidPath(f"path ({path}) invalid: empty path elements are not allowed")
    if "." in segments or ".." in segments:
        raise InvalidPath(f"path ({path}) invalid: relative file paths are not allowed")
    _check_encodable(path, segments)
    if strict:
        _check_strict(path)
    return path


def _check_encodable(path: str, segments: list[str]) -> None:
    try:
        size_bytes = len(path.encode())
        longest = max(len(segment.encode()) for segment in segments)
    except UnicodeEncodeError:
        raise InvalidPath(f"path ({path!a}) invalid: not UTF-8") from None
    if "\0" in path:
        raise InvalidPath(f"path ({path!a}) invalid: NUL is not allowed")
    if longest > _SEGMENT_BYTES:
        raise PathTooLong(f"path ({path[:80]}…) invalid: longer than {_SEGMENT_BYTES} bytes between two slashes")
    if size_bytes > _PATH_BYTES + 1:  # a slash, and what a program can name from the top of the repo
        raise PathTooLong(f"path ({path[:80]}…) invalid: longer than {_PATH_BYTES} bytes")


def _check_strict(path: str) -> None:
    if not _STRICT_PATH.fullmatch(path):
        raise InvalidPath(f"path ({path}) invalid: only printable ASCII characters allowed")
    if found := _GLOB_CHARACTERS.search(path):
        raise InvalidPath(f"path ({path}) invalid: globbing character ({found.group()}) not allowed in path")


def clean_path(text: str) -> str:
    """Return what a person typed as a path: one leading slash, no trailing or doubled ones; `/` for the root."""
    return "/" + "/".join(segment for segment in text.split("/") if segment)


def parents(path: str) -> list[str]:
    """Return the directories above `path`, outermost first, without the root: `/a`, `/a/b` for `/a/b/c`."""
    segments = path.strip("/").split("/")
    return ["/" + "/".join(segments[:depth]) for depth in range(1, len(segments))]


@dataclass(frozen=True, slots=True)
class Revision:
    """A branch or commit id and how far to walk from it: `back` parents, or the `from_root`-th commit of its history."""

    name: str
    back: int = 0
    from_root: int | None = None


_REVISION = re.compile(r"([a-zA-Z0-9_-]+)(?:\.([0-9]+))?((?:[\^~].*)?)", re.DOTALL)


def parse_revision(text: str) -> Revision:
    """Parse `master`, `<commit>`, `master^`, `master~3`, `master^^` or `master.1`.

    Raises InvalidRequest for `^` mixed with `~`, InvalidName for anything that is no branch name to begin with.
    """
    found = _REVISION.fullmatch(text)
    if not found:
        check_name("branch", text)
        raise InvalidRequest(f'invalid ancestry syntax "{text}"')
    name, from_root, walk = found.groups()
    return Revision(name, _count_steps(text, walk), _bounded(from_root) if from_root else None)


def _count_steps(text: str, walk: str) -> int:
    if not walk:
        return 0
    marker, rest = walk[0], walk[1:]
    if rest.isdecimal() and rest.isascii():
        return _bounded(rest)
    other = rest.replace(marker, "")
    if other:
        raise InvalidRequest(f'invalid ancestry syntax "{text}", cannot mix {marker} and {other[0]} characters')
    return len(walk)


def _bounded(digits: str) -> int:
    if len(digits) > 12:
        raise CommitNotFound(f"no ancestor is {digits[:12]}… commits back")
    return int(digits)


@dataclass(frozen=True, slots=True)
class Reference:
    """What `repo[@revision][:path]` names. `path` is None when there was no colon."""

    repo: str
    revision: str
    path: str | None = None


def parse_reference(text: str) -> Reference:
    """Parse `repo`, `repo@branch`, `repo@commit^`, `repo@branch=commit`, each with `:path` behind it or not.

    Raises InvalidRequest for an empty repo, InvalidName for one that can not exist.
    """
    head, colon, path = text.partition(":")
    repo, _, revision = head.partition("@")
    if not repo:
        raise InvalidRequest(f'invalid format "{text}": repo cannot be empty')
    check_existing_repo(repo)
    branch, _, commit = revision.partition("=")
    revision = commit or branch or DEFAULT_BRANCH
    return Reference(repo, revision, clean_path(path) + _trailing_slash(path) if colon else None)


def _trailing_slash(path: str) -> str:
    return "/" if path.endswith("/") and path.strip("/") else ""


@dataclass(frozen=True, slots=True)
class BucketName:
    """What `[commit.][branch.]repo` names."""

    repo: str
    branch: str = DEFAULT_BRANCH
    commit: CommitId | None = None


def parse_bucket(name: str) -> BucketName:
    """Parse a bucket of the global gateway; raises InvalidName for anything else.

    A first part with the shape of a global id is a commit, whatever branches there are (as in Pachyderm's
    `bucketNameToCommit`). A system repo is named with its branch: `branch.pipeline.meta`, for `pipeline.meta` is a branch
    of a repo called meta.
    """
    parts = name.split(".")
    commit = CommitId(parts.pop(0)) if is_commit_id(parts[0]) and len(parts) > 1 else None
    if len(parts) == 3 and parts[2] == _META[1:] and all(_NAME.fullmatch(part) for part in parts):
        return BucketName(meta_repo(parts[1]), parts[0], commit)
    if len(parts) > 2 or not all(_NAME.fullmatch(part) for part in parts):
        raise InvalidName(f'invalid bucket name "{name}"')
    return BucketName(parts[-1], parts[0] if len(parts) == 2 else DEFAULT_BRANCH, commit)


_NEW_BUCKET = re.compile(r"(?=.{3})[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_NEW_LABEL = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9_-]*[a-zA-Z0-9])?")


def check_new_bucket(name: str) -> str:
    """Return `name` if S3 clients may make a bucket of it, else raise InvalidName.

    Without a dot it is a name that Amazon allows; with one, capitals and underscores are allowed as in PFS, but neither part
    may begin or end with a dash or underscore. Repos made elsewhere are buckets whatever their names.
    """
    labels = name.split(".")
    rule = _NEW_BUCKET if len(labels) == 1 else _NEW_LABEL
    if not all(rule.fullmatch(label) for label in labels):
        raise InvalidName(f'invalid bucket name "{name}"')
    return name
