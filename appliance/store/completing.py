"""The end of a job that went well: the union of what its datums wrote becomes its output commit.

A small output is one write. A large one is written in steps, so that no other write has to wait for all of it: into a commit
that is open meanwhile, so that nobody sees any of it before the last step finishes that. Killed in between, the job goes on
where it was; one that is ended otherwise leaves nothing of it (`running.fail_job`).
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice

from appliance.store import Store, commits, files, outputs, running
from appliance.store.database import Db
from appliance.store.files import Change

_PAGE = 2000


def complete_job(store: Store, row: int, stop: Callable[[], bool] = lambda: False) -> None:
    """Make a job's output its commit and end it. Blocks; ends early, to be asked again, once `stop` says so.

    Harmless if the job has ended or gone. Raises PathConflict as `outputs.check_output`, Conflict if what was there before
    changes meanwhile.
    """
    with store.snapshot() as db:
        job = running.find_unfinished(db, row)
        if job is None:
            return
        outputs.check_output(db, row)
        totals = outputs.count_output(db, row)
        changes = outputs.iter_changes(db, commits.get_by_row(db, job.commit_row), row)
        page = list(islice(changes, _PAGE))
        while following := list(islice(changes, _PAGE)):
            if stop():
                return
            store.write(partial(_write_page, row=row, page=page))
            page = following
    store.write(partial(_finish, row=row, page=page, totals=totals))


def _write_page(db: Db, row: int, page: Sequence[Change]) -> None:
    job = running.set_finishing(db, row)
    if job is not None:
        files.rewrite(db, commits.get_by_row(db, job.commit_row), page)


def _finish(db: Db, row: int, page: Sequence[Change], totals: tuple[int, int]) -> None:
    job = running.find_unfinished(db, row)
    if job is not None:
        files.rewrite(db, commits.get_by_row(db, job.commit_row), page)
        running.end_well(db, job, totals)
