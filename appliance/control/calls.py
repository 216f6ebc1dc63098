"""What commands can ask of the appliance: typed methods, each run in a worker thread.

Results are plain data (dataclasses, lists, strings); times are nanoseconds UTC. Names follow the command line: verb, noun.
"""

import itertools
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from appliance import __version__
from appliance.app import App
from appliance.errors import InvalidRequest
from appliance.external.credentials import Profile
from appliance.names import CommitId, Revision, clean_path, is_commit_id, parse_revision
from appliance.pipelines.spec import from_json, input_shorthand
from appliance.pipelines.worker import decode_inputs
from appliance.store import Db, commits, datums, diffs, jobs, pipelines, repos, squash
from appliance.store.jobs import Job
from appliance.store.pipelines import Pipeline
from appliance.store.snapshots import Entry

Provider = Literal["amazon", "google", "microsoft"]


@dataclass(frozen=True, slots=True)
class CommitInfo:
    """A commit with the id of its parent, and what it was made from, as `repo@id` references."""

    commit: commits.Commit
    parent_id: str | None
    provenance: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Touching:
    """A commit that added (`+`), changed (`*`) or deleted (`-`) a path, and the size it made it."""

    commit: commits.Commit
    op: str
    size_bytes: int | None


@dataclass(frozen=True, slots=True)
class PipelineInfo:
    """A pipeline with its spec as an object and its input in one line."""

    name: str
    version: int
    stopped: bool
    created_ns: int
    input: str
    last_job_state: str | None
    description: str
    spec: msgspec.Raw


@dataclass(frozen=True, slots=True)
class DatumInfo:
    """A datum with the paths of its inputs."""

    id: str
    state: str
    reason: str
    tries: int
    files: tuple[str, ...]
    started_ns: int | None
    finished_ns: int | None


@dataclass(frozen=True, slots=True)
class ProfileInfo:
    """A credentials profile without its secrets."""

    name: str
    provider: str
    region: str | None
    endpoint: str | None


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
            "mount": str(self._app.mount) if self._app.mount else None,
            "durability": config.durability,
            "strict": config.strict,
            "notices": self._app.notices,
        }

    # -- repos and branches

    def inspect_repo(self, repo: str) -> repos.Repo:
        with self._store.snapshot() as db:
            return repos.get_repo(db, repo)

    def list_repo(self) -> list[repos.Repo]:
        with self._store.snapshot() as db:
            return repos.list_repos(db)

    def delete_all_repos(self) -> None:
        """Delete every repo, or none if a pipeline needs one."""

        def delete(db: Db) -> None:
            for repo in repos.list_repos(db):  # newest first: what rests on another is usually the younger
                repos.delete_repo(db, repo.name)

        self._store.write(delete)

    def inspect_branch(self, repo: str, branch: str) -> repos.Branch:
        with self._store.snapshot() as db:
            return repos.get_branch(db, repo, branch)

    def list_branch(self, repo: str) -> list[repos.Branch]:
        with self._store.snapshot() as db:
            return repos.list_branches(db, repo)

    # -- commits

    def inspect_commit(self, repo: str, revision: str) -> CommitInfo:
        with self._store.snapshot() as db:
            commit = commits.get_commit(db, repo, revision)
            parent = commits.get_by_row(db, commit.parent).id if commit.parent is not None else None
            return CommitInfo(commit, parent, tuple(f"{up.repo}@{up.id}" for up in commits.list_provenance(db, commit)))

    def find_commit(self, repo: str, revision: str) -> str | None:
        """The id of the commit that readers of a branch, or of what else names a commit, see; None before the first."""
        with self._store.snapshot() as db:
            commit = commits.get_commit(db, repo, revision)
            if parse_revision(revision) == Revision(revision) and not is_commit_id(revision):
                seen = commits.find_readable(db, commit)
            else:
                seen = commits.check_readable(commit)
            return seen.id if seen else None

    def list_commit(self, repo: str | None = None, revision: str | None = None, number: int = 0) -> list[commits.Commit]:
        """The commits of a repo, or of all, newest first; of one branch's history with a revision."""
        with self._store.snapshot() as db:
            if repo is None or revision is None:
                found = commits.iter_commits(db, repo)
            else:
                found = commits.iter_ancestors(db, commits.get_commit(db, repo, revision))
            return list(itertools.islice(found, number or None))

    def list_commit_set(self, commit_id: str) -> list[commits.Commit]:
        with self._store.snapshot() as db:
            return commits.list_set(db, _commit_id(commit_id))

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

    def list_touching(self, repo: str, revision: str, path: str, limit: int = 0) -> list[Touching]:
        """The commits at or before one that added, changed or deleted a path, newest first."""
        with self._store.snapshot() as db:
            found = diffs.iter_touching(db, commits.get_commit(db, repo, revision), clean_path(path))
            chosen = itertools.islice(found, limit or None)
            return [Touching(touch.commit, touch.op, _size(touch.entry)) for touch in chosen]

    # -- pipelines

    def inspect_pipeline(self, pipeline: str) -> PipelineInfo:
        with self._store.snapshot() as db:
            return _pipeline_info(pipelines.get_pipeline(db, pipeline))

    def list_pipeline(self) -> list[PipelineInfo]:
        with self._store.snapshot() as db:
            return [_pipeline_info(found) for found in pipelines.list_pipelines(db)]

    def delete_pipeline(self, pipeline: str, keep_repo: bool = False) -> None:
        self._store.write(lambda db: pipelines.delete_pipeline(db, pipeline, keep_repo=keep_repo))

    def delete_all_pipelines(self, keep_repo: bool = False) -> None:
        """Delete every pipeline, or none if something else needs one."""

        def delete(db: Db) -> None:
            for pipeline in pipelines.list_pipelines(db):  # newest first, as above
                pipelines.delete_pipeline(db, pipeline.name, keep_repo=keep_repo)

        self._store.write(delete)

    def start_pipeline(self, pipeline: str) -> None:
        self._store.write(lambda db: pipelines.set_stopped(db, pipeline, False))

    def stop_pipeline(self, pipeline: str) -> None:
        self._store.write(lambda db: pipelines.set_stopped(db, pipeline, True))

    # -- jobs and datums

    def list_job(self, pipeline: str | None = None, job: str | None = None) -> list[Job]:
        with self._store.snapshot() as db:
            if pipeline is not None:
                pipelines.get_pipeline(db, pipeline)
            return jobs.list_jobs(db, pipeline=pipeline, job_id=job)

    def inspect_job(self, pipeline: str, job: str) -> Job:
        with self._store.snapshot() as db:
            return jobs.get_job(db, pipeline, job)

    def list_datum(self, pipeline: str, job: str) -> list[DatumInfo]:
        with self._store.snapshot() as db:
            found = jobs.get_job(db, pipeline, job)
            return [_datum_info(datum) for datum in datums.iter_datums(db, found.row)]

    def inspect_datum(self, pipeline: str, job: str, datum: str) -> DatumInfo:
        with self._store.snapshot() as db:
            return _datum_info(datums.get_datum(db, jobs.get_job(db, pipeline, job), datum))

    # -- credentials of other stores

    def deploy_storage(
        self,
        provider: Provider,
        access_key_id: str,
        secret_access_key: str,
        region: str | None = None,
        session_token: str | None = None,
        endpoint: str | None = None,
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
        )
        if not dry_run:
            self._app.profiles.put(kept)
        return kept.name

    def list_storage(self) -> list[ProfileInfo]:
        return [
            ProfileInfo(profile.name, profile.provider, profile.region, profile.endpoint)
            for profile in self._app.profiles.list_profiles()
        ]

    def delete_storage(self, profile: str) -> None:
        self._app.profiles.delete(profile)


def _commit_id(text: str) -> CommitId:
    if not is_commit_id(text):
        raise InvalidRequest(f'invalid commit id "{text}"')
    return CommitId(text)


def _size(entry: Entry | None) -> int | None:
    return entry.content.size_bytes if entry else None


def _pipeline_info(found: Pipeline) -> PipelineInfo:
    spec = from_json(found.spec)
    return PipelineInfo(
        name=found.name,
        version=found.version,
        stopped=bool(found.stopped),
        created_ns=found.created_ns,
        input=input_shorthand(spec.input),
        last_job_state=found.last_job_state,
        description=spec.description,
        spec=msgspec.Raw(found.spec),
    )


def _datum_info(datum: datums.StoredDatum) -> DatumInfo:
    paths = tuple(f"{item.repo}@{item.commit}:{item.path}" for item in decode_inputs(datum.inputs))
    return DatumInfo(datum.id, datum.state, datum.reason, datum.tries, paths, datum.started_ns, datum.finished_ns)
