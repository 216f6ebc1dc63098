"""Jobs and their datums."""

from collections.abc import Iterable

import click

from appliance.cli import verbs
from appliance.cli.connection import ask_until, call, iterate
from appliance.cli.options import styled
from appliance.cli.output import Facts, Style, datum_progress, print_list, print_one, span, state, state_and_reason
from appliance.cli.references import parse_job, split_filter
from appliance.cli.specs import read_spec, spec_file_option
from appliance.errors import JobNotFound
from appliance.names import is_commit_id

_HEADER = ("PIPELINE", "ID", "STARTED", "DURATION", "RESTART", "PROGRESS", "DL", "UL", "STATE")
_DATUM_HEADER = ("ID", "FILES", "STATUS", "TIME")

_STATES = click.Choice(
    ["created", "starting", "running", "egressing", "finishing", "success", "failure", "killed", "unrunnable"]
)

_job = click.argument("job", metavar="PIPELINE@ID")


@verbs.list_.command("job")
@click.argument("job", metavar="[ID]", required=False)
@click.option("-p", "--pipeline", help="Only those of this pipeline.")
@click.option("--state", "states", type=_STATES, multiple=True, help="Only those in this state; may be repeated.")
@styled
def list_job(job: str | None, pipeline: str | None, states: tuple[str, ...], style: Style) -> None:
    """List jobs, newest first: all, those of a pipeline, those that share an id."""
    found = iterate("list_job", pipeline=pipeline, job=job)
    _print_jobs(style, (item for item in found if not states or item["state"] in states))


@verbs.inspect.command("job")
@click.argument("job", metavar="PIPELINE@ID|ID")
@styled
def inspect_job(job: str, style: Style) -> None:
    """Show a job; by an id alone, all jobs that share it."""
    if is_commit_id(job):
        _print_jobs(style, _list_set(job))
    else:
        pipeline, job_id = parse_job(job)
        _print_job(style, call("inspect_job", pipeline=pipeline, job=job_id))


@verbs.wait.command("job")
@click.argument("job", metavar="PIPELINE@ID|ID")
@styled
def wait_job(job: str, style: Style) -> int:
    """Wait until a job has ended, or by an id alone all jobs that share it, and show them.

    The exit status is 1 if any of them did not succeed.
    """
    if is_commit_id(job):
        ended = ask_until(lambda: _list_set(job), _have_ended)
        _print_jobs(style, ended)
        return _status(ended)
    pipeline, job_id = parse_job(job)
    found = ask_until(lambda: call("inspect_job", pipeline=pipeline, job=job_id), lambda one: _have_ended([one]))
    _print_job(style, found)
    return _status([found])


@verbs.stop.command("job")
@_job
def stop_job(job: str) -> None:
    """Stop a job: it ends as killed, without output."""
    pipeline, job_id = parse_job(job)
    call("stop_job", pipeline=pipeline, job=job_id)


@verbs.delete.command("job")
@_job
def delete_job(job: str) -> None:
    """Forget a job with its datums and logs, stopping it if it runs; its output commit stays."""
    pipeline, job_id = parse_job(job)
    call("delete_job", pipeline=pipeline, job=job_id)


@verbs.restart.command("datum")
@_job
@click.argument("inputs", metavar="PATH,...")
def restart_datum(job: str, inputs: str) -> None:
    """Stop the datums that read all these paths, or digests, and let them begin anew; that takes none of their tries."""
    pipeline, job_id = parse_job(job)
    call("restart_datum", pipeline=pipeline, job=job_id, inputs=split_filter(inputs))


@verbs.list_.command("datum")
@click.argument("job", metavar="PIPELINE@ID", required=False)
@spec_file_option(required=False)
@styled
def list_datum(job: str | None, spec_file: str | None, style: Style) -> None:
    """List the datums of a job, or with -f those that a pipeline of this spec would have now."""
    if (job is None) == (spec_file is None):
        raise click.UsageError("either a job or --file (-f) needs to be provided")
    if spec_file is not None:
        print_list(style, ("ID", "FILES"), iterate("plan_datum", text=read_spec(spec_file)), _planned_row)
    elif job is not None:
        pipeline, job_id = parse_job(job)
        print_list(style, _DATUM_HEADER, iterate("list_datum", pipeline=pipeline, job=job_id), _datum_row)


@verbs.inspect.command("datum")
@_job
@click.argument("datum")
@styled
def inspect_datum(job: str, datum: str, style: Style) -> None:
    """Show a datum of a job."""
    pipeline, job_id = parse_job(job)
    found = call("inspect_datum", pipeline=pipeline, job=job_id, datum=datum)
    print_one(style, found, lambda item: _describe_datum(item, job_id, style))


def _list_set(job_id: str) -> list[Facts]:
    found: list[Facts] = list(iterate("list_job", job=job_id))
    if not found:
        raise JobNotFound(f"job set {job_id} not found")
    return found


def _have_ended(jobs: Iterable[Facts]) -> bool:
    return all(job["finished_ns"] is not None for job in jobs)


def _status(jobs: Iterable[Facts]) -> int:
    return int(any(job["state"] != "success" for job in jobs))


def _print_job(style: Style, found: Facts) -> None:
    print_one(style, found, lambda job: _describe(job, style))


def _print_jobs(style: Style, found: Iterable[Facts]) -> None:
    print_list(style, _HEADER, found, lambda job: _row(job, style))


def _row(job: Facts, style: Style) -> tuple[str, ...]:
    return (
        job["pipeline"],
        job["id"],
        style.when(job["started_ns"]),
        span(job["started_ns"], job["finished_ns"]),
        str(job["restarts"]),
        datum_progress(job),
        "-",  # how much a job reads and writes is not counted
        "-",
        state_and_reason(job["state"], job["reason"]),
    )


def _describe(job: Facts, style: Style) -> dict[str, str | None]:
    return {
        "ID": job["id"],
        "Pipeline": job["pipeline"],
        "Started": style.when(job["started_ns"]),
        "Duration": span(job["started_ns"], job["finished_ns"]),
        "State": state(job["state"]),
        "Reason": job["reason"] or None,
        "Processed": str(job["processed"]),
        "Failed": str(job["failed"]),
        "Skipped": str(job["skipped"]),
        "Recovered": str(job["recovered"]),
        "Total": str(job["total"]),
        "Restarts": str(job["restarts"]),
        "Pipeline Version": str(job["version"]),
        "Output Commit": f"{job['pipeline']}@{job['id']}",
    }


def _datum_state(datum: Facts) -> str:
    return "-" if datum["state"] == "waiting" else state(datum["state"])


def _datum_row(datum: Facts) -> tuple[str, ...]:
    return datum["id"], ", ".join(datum["files"]), _datum_state(datum), span(datum["started_ns"], datum["finished_ns"])


def _planned_row(datum: Facts) -> tuple[str, ...]:
    return datum["id"], ", ".join(datum["files"])


def _describe_datum(datum: Facts, job_id: str, style: Style) -> dict[str, str | None]:
    return {
        "ID": datum["id"],
        "Job ID": job_id,
        "State": _datum_state(datum),
        "Reason": datum["reason"] or None,
        "Tries": str(datum["tries"]),
        "Started": style.when(datum["started_ns"]),
        "Time": span(datum["started_ns"], datum["finished_ns"]),
        "Files": ", ".join(datum["files"]),
    }
