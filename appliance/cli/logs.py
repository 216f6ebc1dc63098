"""Logs of user code."""

import json
import sys

import click

from appliance.cli.connection import iterate
from appliance.cli.output import public
from appliance.cli.references import parse_job, split_filter
from appliance.cli.verbs import root


@root.command()
@click.option("-p", "--pipeline", help="The logs of all jobs of this pipeline, oldest first.")
@click.option("-j", "--job", metavar="PIPELINE@ID", help="The logs of this job.")
@click.option("--datum", metavar="ID", help="Only those of this datum.")
@click.option("--inputs", metavar="PATH,...", help="Only those of datums that read all these paths, or digests.")
@click.option("--since", metavar="DURATION", help="Only what was written since so long ago, as 30s or 24h; else everything.")
@click.option("--master", is_flag=True, help="Only the appliance's own remarks about the jobs.")
@click.option("--worker", is_flag=True, help="The appliance's own remarks too.")
@click.option("-t", "--tail", hidden=True)
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines until the jobs have ended.")
@click.option("--raw", is_flag=True, help="Print an object for each line, the appliance's own remarks included.")
def logs(
    pipeline: str | None,
    job: str | None,
    datum: str | None,
    inputs: str | None,
    since: str | None,
    master: bool,
    worker: bool,
    tail: str | None,
    follow: bool,
    raw: bool,
) -> None:
    """Print what user code wrote to its standard output and error."""
    if tail is not None:
        raise click.UsageError("tail has been deprecated and removed from Pachyderm, use --since instead")
    if pipeline and job:
        raise click.UsageError("only one of pipeline or job should be specified")
    name, job_id = parse_job(job) if job else (pipeline, None)
    chosen = {"datum": datum, "inputs": split_filter(inputs) if inputs else None, "since": since}
    for line in iterate("logs", pipeline=name, job=job_id, follow=follow, **chosen):
        own = line["stream"] == "job"
        if master and not own:
            continue
        if raw:
            click.echo(json.dumps(public(line), ensure_ascii=False))
        elif master or worker or not own:
            click.echo(line["message"])
        if follow:
            sys.stdout.flush()
