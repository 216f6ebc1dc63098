"""What commands can ask of the appliance: typed methods, each run in a worker thread.

Results are plain data (dataclasses, lists, strings); times are nanoseconds UTC. Names follow the command line: verb, noun.
"""

import secrets
import time
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from appliance import __version__
from appliance.app import App
from appliance.control.describing import DatumInfo, PipelineInfo, describe_datum, describe_pipeline
from appliance.control.specs import fetch_spec
from appliance.errors import ApplianceError, DatumNotFound, InvalidRequest
from appliance.external.credentials import Profile
from appliance.names import CommitId, Revision, is_commit_id, parse_revision
from appliance.pipelines.spec import parse_specs, to_json
from appliance.store import Db, commits, crons, datums, jobs, opened, pipelines, repos, rerunning, squash, transactions
from appliance.store.jobs import Job

Provider = Literal["amazon", "google", "microsoft"]


@dataclass(frozen=True, slots=True)
class CommitInfo:
    """A commit with the id of its parent, and what it was made from, as `repo@id` references."""

    commit: commits.Commit
    parent_id: str | None
    provenance: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ProfileInfo:
    """A credentials profile without its secrets."""

    name: str
    provider: str
    region: str | None
    endpoint: str | None
    bucket: str | None


class Calls:
    """The calls, over an open appliance. Every public method is one."""

    def __init__(self, app: App) -> None:
        self._app, self._store = app, app.store

    def inspect_appliance(self) -> dict[str, Any]:
        config = self._app.config
        return {
            "version": __version__,
            "data": str(config.data),
            "s3_endpoint": self._app.s3_endpoint,
            "tls_endpoint": self._app.tls_endpoint,
            "mount": str(self._app.mount) if self._app.mount else None,
            "durability": config.durability,
            "strict": config.strict,
            "auth": self._app.is_auth_active(),
            "notices": self._app.notices,
        }

    # -- repos and branches

    def inspect_repo(self, repo: str) -> repos.Repo:
        with self._store.snapshot() as db:
            return repos.get_repo(db, repo)

    def delete_all_repos(self, force: bool = False) -> None:
        """Delete every repo, or none if a pipeline needs one."""

        def delete(db: Db) -> None:
            for repo in list(repos.iter_repos(db)):  # newest first: what rests on another is usually the younger
                repos.delete_repo(db, repo.name, force=force)

        self._store.write(delete)

    def delete_all(self) -> None:
        """Delete every pipeline, repo and transaction at once; what is left is as after the first start."""

        def delete(db: Db) -> None:
            for pipeline in pipelines.list_pipelines(db):
                pipelines.delete_pipeline(db, pipeline.name, keep_repo=True)
            for repo in list(repos.iter_repos(db)):
                repos.delete_repo(db, repo.name, force=True)
            for transaction in transactions.list_transactions(db):
                transactions.delete_transaction(db, transaction.id)

        self._store.write(delete)

    def inspect_branch(self, repo: str, branch: str) -> repos.Branch:
        with self._store.snapshot() as db:
            return repos.get_branch(db, repo, branch)

    # -- commits

    def inspect_commit(self, repo: str, revision: str) -> CommitInfo:
        with self._store.snapshot() as db:
            commit = commits.get_commit(db, repo, revision)
            parent = commits.get_by_row(db, commit.parent).id if commit.parent is not None else None
            return CommitInfo(commit, parent, tuple(f"{up.repo}@{up.id}" for up in commits.list_provenance(db, commit)))

    def resolve_commit(self, repo: str, revision: str) -> str | None:
        """The id of the commit that readers of a branch, or of what else names a commit, see; None before the first."""
        with self._store.snapshot() as db:
            commit = commits.get_commit(db, repo, revision)
            if parse_revision(revision) == Revision(revision) and not is_commit_id(revision):
                seen = commits.find_readable(db, commit)
            else:
                seen = commits.check_readable(commit)
            return seen.id if seen else None

    def drop_commit_set(self, commit_id: str) -> None:
        """Remove all commits that share an id, with their data."""
        self._store.write(lambda db: squash.drop_set(db, _commit_id(commit_id)))

    def squash_commit(self, repo: str, revision: str, recursive: bool = False) -> None:
        """Fold one commit into its children, and with `recursive` all that were made from it."""
        self._store.write(lambda db: squash.squash_commit(db, repo, revision, recursive=recursive))

    def drop_commit(self, repo: str, revision: str, recursive: bool = False) -> None:
        """Remove one commit with its data, and with `recursive` all that were made from it."""
        self._store.write(lambda db: squash.drop_commit(db, repo, revision, recursive=recursive))

    def clear_commit(self, repo: str, revision: str) -> None:
        """Undo what was written into an open commit."""
        self._store.write(lambda db: squash.clear_commit(db, repo, revision))

    # -- pipelines

    def inspect_pipeline(self, pipeline: str) -> PipelineInfo:
        with self._store.snapshot() as db:
            return describe_pipeline(pipelines.get_version(db, pipeline))

    def delete_pipeline(self, pipeline: str, keep_repo: bool = False, force: bool = False) -> None:
        self._store.write(lambda db: pipelines.delete_pipeline(db, pipeline, keep_repo=keep_repo, force=force))

    def delete_all_pipelines(self, keep_repo: bool = False, force: bool = False) -> None:
        """Delete every pipeline, or none if something else needs one and it is not forced."""

        def delete(db: Db) -> None:
            for pipeline in pipelines.list_pipelines(db):  # newest first, as above
                pipelines.delete_pipeline(db, pipeline.name, keep_repo=keep_repo, force=force)

        self._store.write(delete)

    def start_pipeline(self, pipeline: str) -> None:
        self._store.write(lambda db: pipelines.set_stopped(db, pipeline, False))

    def stop_pipeline(self, pipeline: str) -> None:
        self._store.write(lambda db: pipelines.set_stopped(db, pipeline, True))

    def run_cron(self, pipeline: str) -> None:
        """Let all cron inputs of a pipeline tick now."""
        self._store.write(lambda db: crons.tick_now(db, pipelines.get_pipeline(db, pipeline).name, time.time_ns()))

    def run_pipeline(self, pipeline: str, inputs: list[tuple[str, str]] | None = None, job: str | None = None) -> str:
        """Start a job on chosen (repo, revision) commits, or on those of another job, and return its id."""
        return self._store.write(lambda db: rerunning.run_pipeline(db, pipeline, inputs or (), job))

    def rerun_pipeline(self, pipeline: str, reprocess: bool = False) -> None:
        """Start a job on the newest inputs; with `reprocess` every datum is processed again."""
        salt = secrets.token_hex(16) if reprocess else None
        self._store.write(lambda db: rerunning.rerun_pipeline(db, pipeline, salt))

    def complete_spec(self, text: str) -> list[msgspec.Raw]:
        """The specs of a file as pipelines would have them, with what they leave out."""
        return [msgspec.Raw(to_json(spec)) for spec in parse_specs(text, strict=self._app.config.strict)]

    def read_spec(self, url: str) -> str:
        """Return the text of a spec on a web server."""
        return fetch_spec(url)

    # -- jobs and datums

    def inspect_job(self, pipeline: str, job: str) -> Job:
        with self._store.snapshot() as db:
            return jobs.get_job(db, pipeline, job)

    def inspect_datum(self, pipeline: str, job: str, datum: str) -> DatumInfo:
        with self._store.snapshot() as db:
            found = datums.get_datum(db, jobs.get_job(db, pipeline, job), datum)
            return describe_datum(found, opened.list_opened(db, found.row))

    def restart_datum(self, pipeline: str, job: str, inputs: list[str]) -> None:
        """Let the datums of a job begin anew that are running and read all these paths or digests."""
        with self._store.snapshot() as db:
            found = jobs.get_job(db, pipeline, job)
            if found.finished_ns is not None:
                raise ApplianceError(f"job {pipeline}@{job} has already finished")
            chosen = [datum for datum in datums.iter_matching(db, found.row, inputs) if datum.state in ("waiting", "running")]
        if not chosen:
            wanted = ", ".join(inputs)
            raise DatumNotFound(f"datum matching filter [{wanted}] could not be found for job ID {job}")
        self._app.doors.tries.restart(datum.row for datum in chosen)

    # -- credentials of other stores

    def deploy_storage(
        self,
        provider: Provider,
        access_key_id: str,
        secret_access_key: str,
        region: str | None = None,
        session_token: str | None = None,
        endpoint: str | None = None,
        bucket: str | None = None,
        path_style: bool | None = None,
        ca_certificate: str | None = None,
        profile: str = "",
        dry_run: bool = False,
    ) -> str:
        """Keep credentials for another object store, unless it is a dry run, and return the name of their profile."""
        kept = Profile(
            provider=provider,
            access_key_id=access_key_id,
            secret_access_key=secret_access_key,
            name=profile,
            region=region,
            session_token=session_token,
            endpoint=endpoint,
            bucket=bucket,
            path_style=path_style,
            ca_certificate=ca_certificate,
        )
        if not dry_run:
            self._app.profiles.put(kept)
        return kept.name

    def list_storage(self) -> list[ProfileInfo]:
        return [
            ProfileInfo(profile.name, profile.provider, profile.region, profile.endpoint, profile.bucket)
            for profile in self._app.profiles.list_profiles()
        ]

    def delete_storage(self, profile: str) -> None:
        self._app.profiles.delete(profile)


def _commit_id(text: str) -> CommitId:
    if not is_commit_id(text):
        raise InvalidRequest(f'invalid commit id "{text}"')
    return CommitId(text)
