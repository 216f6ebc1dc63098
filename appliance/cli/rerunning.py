"""Jobs on demand: of a pipeline on chosen commits, once more, or by the clock."""

import click

from appliance.cli import verbs
from appliance.cli.connection import call
from appliance.cli.references import parse_commit, parse_job

_pipeline = click.argument("pipeline")


@verbs.run.command("cron")
@_pipeline
def run_cron(pipeline: str) -> None:
    """Let the cron inputs of a pipeline tick now."""
    call("run_cron", pipeline=pipeline)


@verbs.run.command("pipeline")
@_pipeline
@click.argument("commits", metavar="[REPO@COMMIT...]", nargs=-1)
@click.option("--job", metavar="ID", help="Read what this job of the pipeline has read.")
def run_pipeline(pipeline: str, commits: tuple[str, ...], job: str | None) -> None:
    """Start a job of a pipeline, by default on the newest commits of its inputs, and print its id."""
    inputs = [parse_commit(commit) for commit in commits]
    click.echo(call("run_pipeline", pipeline=pipeline, inputs=inputs, job=_parse_own_job(pipeline, job) if job else None))


@verbs.rerun.command("pipeline")
@_pipeline
@click.option("--reprocess", is_flag=True, help="Process datums again that were processed before.")
def rerun_pipeline(pipeline: str, reprocess: bool) -> None:
    """Start a job of a pipeline although none of its inputs has changed."""
    call("rerun_pipeline", pipeline=pipeline, reprocess=reprocess)


def _parse_own_job(pipeline: str, job: str) -> str:
    """Return the id in `id` or `pipeline@id`."""
    if "@" not in job:
        return job
    named, job_id = parse_job(job)
    if named != pipeline:
        raise click.UsageError("job is from the wrong pipeline")
    return job_id
