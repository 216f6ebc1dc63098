"""What people write for branches, commits, files and jobs. Pure; texts are Pachyderm's."""

import re

from appliance.errors import InvalidRequest
from appliance.names import is_commit_id, parse_reference

_DIGEST = re.compile("[0-9a-f]{64}")
_NOT_A_BRANCH = re.compile(r"[\^~.=]")


def parse_branch(text: str) -> tuple[str, str]:
    """Parse `repo@branch`. Raises InvalidRequest for anything that may be another commit than a head, or a file."""
    repo, at, branch = text.partition("@")
    if ":" in text:
        raise InvalidRequest(f'invalid format "{text}": cannot specify a file path')
    if not repo:
        raise InvalidRequest(f'invalid format "{text}": repo cannot be empty')
    if not at or not branch:
        raise InvalidRequest(f'invalid format "{text}": expected repo@branch')
    if is_commit_id(branch) or _NOT_A_BRANCH.search(branch):
        raise InvalidRequest(f'invalid branch "{text}": cannot specify a commit or ancestry')
    return repo, branch


def parse_commit(text: str) -> tuple[str, str]:
    """Parse `repo`, `repo@branch`, `repo@id`, `repo@branch^`; the revision is `master` without one."""
    found = parse_reference(text)
    if found.path is not None:
        raise InvalidRequest(f'invalid format "{text}": cannot specify a file path')
    return found.repo, found.revision


def parse_revision_of(repo: str, text: str) -> str:
    """Return the revision in `revision` or `repo@revision`. Raises InvalidRequest if the repo is another one."""
    if "@" not in text:
        return text
    named, revision = parse_commit(text)
    if named != repo:
        raise InvalidRequest(f'invalid commit "{text}": it is not in repo {repo}')
    return revision


def parse_file(text: str) -> tuple[str, str, str]:
    """Parse `repo@revision:path`, all of it. Raises InvalidRequest without a path."""
    found = parse_reference(text)
    if found.path is None:
        raise InvalidRequest(f'invalid format "{text}": expected repo@branch-or-commit:path')
    return found.repo, found.revision, found.path


def parse_pattern(text: str) -> tuple[str, str, str]:
    """Parse `repo@revision:pattern`; the pattern stays as it is written but for a slash in front."""
    head, colon, pattern = text.partition(":")
    repo, revision = parse_commit(head)
    if not colon:
        raise InvalidRequest(f'invalid format "{text}": expected repo@branch-or-commit:pattern')
    return repo, revision, pattern if pattern.startswith("/") else f"/{pattern}"


def parse_job(text: str) -> tuple[str, str]:
    """Parse `pipeline@job-id`."""
    pipeline, at, job = text.partition("@")
    if not pipeline:
        raise InvalidRequest(f'invalid format "{text}": pipeline must be specified')
    if not at or not job:
        raise InvalidRequest(f'invalid format "{text}": expected pipeline@job-id')
    return pipeline, job


def split_filter(text: str) -> list[str]:
    """Parse `path,digest,...`, which all have to be found among the inputs of a datum; paths get a slash in front."""
    return [word if _DIGEST.fullmatch(word) or word.startswith("/") else f"/{word}" for word in text.split(",") if word]
