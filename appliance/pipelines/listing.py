"""The datums of a job, from its inputs into the store."""

from collections.abc import Iterator
from functools import partial
from itertools import islice

from appliance.pipelines.datums import Datum
from appliance.pipelines.doors import encode_inputs
from appliance.pipelines.planner import iter_planned
from appliance.pipelines.spec import Spec, leaves
from appliance.store import Db, Store, commits, datums, pipelines
from appliance.store.datums import NewDatum
from appliance.store.jobs import Job

_BATCH = 500


def list_datums(store: Store, job: Job, spec: Spec) -> None:
    """Record the datums of a job, those that need not run as skipped. Blocks."""
    skip = not spec.s3_out and spec.reprocess_spec != "every_job"
    planned = _iter_datums(store, job, spec)
    first, written = 0, None
    while new := [_new_datum(datum) for datum in islice(planned, _BATCH)]:
        if written is not None:
            written.result()
        # While these are written the next ones are worked out.
        written = store.submit(partial(datums.add_datums, job=job, first=first, datums=new, skip=skip))
        first += len(new)
    if written is not None:
        written.result()


def _new_datum(datum: Datum) -> NewDatum:
    return NewDatum(bytes.fromhex(datum.id), bytes.fromhex(datum.hash), encode_inputs(datum.inputs))


def _iter_datums(store: Store, job: Job, spec: Spec) -> Iterator[Datum]:
    assert spec.input is not None
    with store.snapshot() as db:
        pinned = _pin_inputs(db, job, spec)
        salt = pipelines.get_pipeline(db, job.pipeline).salt
    return iter_planned(store.snapshot, spec.input, pinned, salt)


def _pin_inputs(db: Db, job: Job, spec: Spec) -> dict[tuple[str, str], commits.Commit]:
    """Return the commit of each input, by its repo and branch: what the output commit was made from.

    One whose repo was deleted by force has none.
    """
    made_from = commits.list_direct_provenance(db, job.commit_row)
    pinned = {}
    for leaf in leaves(spec.input):
        of_repo = [commit for commit in made_from if commit.repo == leaf.source]
        of_branch = [commit for commit in of_repo if commit.branch == leaf.branch]
        if found := of_branch or of_repo:
            pinned[leaf.source, leaf.branch] = found[0]
    return pinned
