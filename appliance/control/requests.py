"""What commands can ask to be changed, as parts of one write: alone, or together with others in a transaction.

Pachyderm's `TransactionRequest` has the same ones. Names and arguments are those of the command line.
"""

import secrets
import time
from collections.abc import Callable
from typing import Any

import msgspec

from appliance.app import App
from appliance.control.transactions import rehearse
from appliance.errors import ApplianceError, InvalidRequest, InvalidSpec
from appliance.external.databases import parse_database
from appliance.external.transfers import require_remote
from appliance.external.urls import parse_url
from appliance.names import CommitId, is_commit_id
from appliance.pipelines.secrets import check_secrets
from appliance.pipelines.spec import (
    CronInput,
    Egress,
    Spec,
    SpecTrigger,
    check_supported,
    crons_of,
    leaves,
    parse_specs,
    to_json,
)
from appliance.quantities import parse_time
from appliance.store import Db, history, jobs, pipelines, repos, running, squash
from appliance.store.crons import Cron
from appliance.store.pipelines import NewPipeline
from appliance.store.triggers import Trigger

Write = Callable[[Db], Any]


class Requests:
    """The requests, over an open appliance. Every public method is one: it checks its arguments and returns the write."""

    def __init__(self, app: App) -> None:
        self._strict = app.config.strict
        self._containers = app.config.runner == "container"
        self._find_secret = app.doors.find_secret

    def create_repo(self, repo: str, description: str = "", update: bool = False) -> Write:
        return lambda db: repos.create_repo(db, repo, description=description, update=update)

    def delete_repo(self, repo: str, force: bool = False) -> Write:
        return lambda db: repos.delete_repo(db, repo, force=force)

    def create_branch(
        self,
        repo: str,
        branch: str,
        head: str | None = None,
        provenance: list[tuple[str, str]] | None = None,
        trigger: Trigger | None = None,
    ) -> Write:
        return lambda db: repos.create_branch(db, repo, branch, head=head, provenance=provenance or (), trigger=trigger)

    def delete_branch(self, repo: str, branch: str, force: bool = False) -> Write:
        return lambda db: repos.delete_branch(db, repo, branch, force=force)

    def start_commit(self, repo: str, branch: str, description: str = "", parent: str | None = None) -> Write:
        return lambda db: history.start_commit(db, repo, branch, description=description, parent=parent).id

    def finish_commit(self, repo: str, revision: str, description: str = "") -> Write:
        def finish(db: Db) -> None:
            history.finish_user_commit(db, repo, revision, description=description)

        return finish

    def squash_commit_set(self, commit_id: str) -> Write:
        if not is_commit_id(commit_id):
            raise InvalidRequest(f'invalid commit id "{commit_id}"')
        return lambda db: squash.squash_set(db, CommitId(commit_id))

    def create_pipeline(self, text: str, update: bool = False, reprocess: bool = False, dry_run: bool = False) -> Write:
        """Create or update the pipelines of a spec file, all or none; return notices. A dry run leaves no trace."""
        specs = parse_specs(text, strict=self._strict)
        for spec in specs:
            check_supported(spec)
            if not spec.transform.cmd and not self._containers:  # an image may have a command of its own
                raise InvalidSpec("invalid pipeline transform, no command specified")
            check_secrets(self._find_secret, spec.transform.secrets)
            if spec.egress is not None:
                _check_egress(spec.egress)

        def create(db: Db) -> list[str]:
            for spec in specs:
                if update and pipelines.exists(db, spec.name):
                    pipelines.update_pipeline(db, _new_pipeline(spec), reprocess=reprocess)
                else:
                    pipelines.create_pipeline(db, _new_pipeline(spec))
            return [notice for spec in specs for notice in spec.list_notices(containers=self._containers)]

        return (lambda db: rehearse(db, create)) if dry_run else create

    def stop_job(self, pipeline: str, job: str) -> Write:
        def stop(db: Db) -> None:
            found = jobs.get_job(db, pipeline, job)
            if found.finished_ns is not None:
                raise ApplianceError(f"job {pipeline}@{job} has already finished")
            running.fail_job(db, found.row, "killed", "job stopped")

        return stop

    def delete_job(self, pipeline: str, job: str) -> Write:
        return lambda db: running.delete_job(db, jobs.get_job(db, pipeline, job).row)


def _check_egress(egress: Egress) -> None:
    """Refuse what would fail in every job."""
    if egress.object_url:
        require_remote(parse_url(egress.object_url))
    if wanted := egress.sql_database:
        parse_database(wanted.url, wanted.file_format.type, wanted.file_format.columns)


def _new_pipeline(spec: Spec) -> NewPipeline:
    now_ns = time.time_ns()
    read = leaves(spec.input)
    inputs = [(leaf.source, leaf.branch) for leaf in read]
    heard = {(leaf.source, leaf.branch) for leaf in read if not leaf.propagation_spec.never}
    return NewPipeline(
        name=spec.name,
        spec=to_json(spec),
        description=spec.description,
        output_branch=spec.output_branch,
        inputs=inputs,
        salt=spec.salt or secrets.token_hex(16),
        quiet=[branch for branch in inputs if branch not in heard],
        triggers=[(leaf.source, leaf.branch, _trigger(leaf.trigger)) for leaf in read if leaf.trigger is not None],
        crons=[_new_cron(cron, now_ns) for cron in crons_of(spec.input)],
    )


def _trigger(said: SpecTrigger) -> Trigger:
    return Trigger(**msgspec.structs.asdict(said))


def _new_cron(cron: CronInput, now_ns: int) -> Cron:
    """Return a cron input as the store keeps it: without a start it begins now."""
    start_ns = parse_time(cron.start) if cron.start else now_ns
    return Cron(cron.name, cron.repo, cron.spec, start_ns, cron.overwrite)
