"""What datums are given, below the mount. Pure over the store.

    /.jobs                           what runs; nobody lists it
    /.jobs/<job>                     its datums, also when it has ended, as long as it is known
    /.jobs/<job>/<datum>/<input>/…   what the datum finds below `/pfs`, without `out`

What is shown is of commits that are finished, so it is as lasting as they are; the names above it go with the job, and nobody
tells the kernel.
"""

import hashlib
from collections.abc import Iterator, Sequence

from appliance.errors import ApplianceError
from appliance.mount import nodes
from appliance.mount.nodes import Directory, Found, Gone, JobDirectory
from appliance.mount.tops import Top, is_within
from appliance.store import jobviews
from appliance.store.database import Db
from appliance.store.jobviews import Given

NAME = ".jobs"
_LAST = "\U0010ffff"


def describe(db: Db, node: JobDirectory) -> Found:
    """Return a directory as it is now. Raises Gone if its job or datum is."""
    if not node.job:
        return _shown(node, 0)
    created_ns = jobviews.find_created_ns(db, node.job)
    if created_ns is None or (node.datum and jobviews.find_given(db, node.job, node.datum) is None):
        raise Gone(f"job {node.job} is gone")
    return _shown(node, created_ns)


def find_child(db: Db, parent: JobDirectory, name: bytes) -> Found | None:
    """Return what has a name in a directory, None for nothing."""
    try:
        text = name.decode()
    except UnicodeDecodeError:
        return None
    if not parent.job:
        created_ns = jobviews.find_created_ns(db, text)
        return _shown(JobDirectory(text), created_ns) if created_ns is not None else None
    created_ns = jobviews.find_created_ns(db, parent.job) or 0
    if not parent.datum:
        found = jobviews.find_given(db, parent.job, text)
        return _shown(JobDirectory(parent.job, text), created_ns) if found is not None else None
    return _find_given(db, parent, text, _list_given(db, parent), created_ns)


def iter_children(db: Db, parent: JobDirectory, after: str) -> Iterator[tuple[str, str, Found]]:
    """Yield (name, mark, child) of a directory behind the mark `after`, always in the same order."""
    if not parent.job:
        for job, created_ns in jobviews.iter_running(db):
            if job > after:
                yield job, job, _shown(JobDirectory(job), created_ns)
        return
    created_ns = jobviews.find_created_ns(db, parent.job) or 0
    if not parent.datum:
        for datum in jobviews.iter_datums(db, parent.job, after):
            yield datum, datum, _shown(JobDirectory(parent.job, datum), created_ns)
        return
    given = _list_given(db, parent)
    below = [item.place[len(parent.path) + 1 :].partition("/")[0] for item in given if _is_below(item, parent.path)]
    for name in sorted(set(below)):
        found = _find_given(db, parent, name, given, created_ns) if name > after else None
        if found is not None:
            yield name, name, found


def _list_given(db: Db, parent: JobDirectory) -> list[Given]:
    return jobviews.find_given(db, parent.job, parent.datum) or []


def _is_below(item: Given, path: str) -> bool:
    return item.place != path and is_within(item.place, path or "/")


def _find_given(db: Db, parent: JobDirectory, name: str, given: Sequence[Given], created_ns: int) -> Found | None:
    path = f"{parent.path}/{name}"
    for item in given:
        if item.place == path:
            return _show_given(db, parent, item)
    if any(_is_below(item, path) for item in given):
        return _shown(JobDirectory(parent.job, parent.datum, path), created_ns)
    return None


def _show_given(db: Db, parent: JobDirectory, item: Given) -> Found | None:
    """Return the file or directory of a commit; nothing if that is gone."""
    # Each has a view of its own: the kernel allows a directory one place only.
    number = hashlib.blake2b(f"{parent.job}/{parent.datum}{item.place}".encode(), digest_size=7).digest()
    top = Top(item.repo, item.commit, view=-int.from_bytes(number) - 1)
    root = Directory(top, item.commit, "/")
    try:
        found = nodes.describe(db, root) if item.path == "/" else nodes.find_at(db, root, item.path.rstrip("/"))
    except ApplianceError:
        return None
    return Found(found.node, found.modified_ns, name_lasts=False) if found is not None else None


def _shown(node: JobDirectory, modified_ns: int) -> Found:
    return Found(node, modified_ns, name_lasts=False, attributes_last=False)
