"""Jobs and their datums."""

from collections.abc import Iterable
from itertools import islice

import click

from appliance.cli import verbs
from appliance.cli.connection import ask_until, call, iterate
from appliance.cli.options import history_option, styled
from appliance.cli.output import (
    Facts,
    Style,
    bar,
    datum_progress,
    duration,
    indented,
    print_list,
    print_one,
    size,
    span,
    state,
    state_and_reason,
)
from appliance.cli.references import parse_commit, parse_job, split_filter
from appliance.cli.specs import read_spec, spec_file_option
from appliance.errors import JobNotFound
from appliance.names import is_commit_id

_HEADER = ("PIPELINE", "ID", "STARTED", "DURATION", "RESTART", "PROGRESS", "DL", "UL", "STATE")
_DATUM_HEADER = ("ID", "FILES", "STATUS", "TIME")

_SET_HEADER = ("ID", "SUBJOBS", "PROGRESS", "CREATED", "MODIFIED")

_ENDS = ["success", "failure", "killed", "unrunnable"]
_STATES = click.Choice(["created", "starting", "running", "egressing", "finishing", *_ENDS])

_job = click.argument("job", metavar="PIPELINE@ID")


@verbs.list_.command("job")
@click.argument("job", metavar="[ID]", required=False)
@click.option("-p", "--pipeline", help="Only those of this pipeline.")
@click.option("-i", "--input", "inputs", multiple=True, metavar="REPO@COMMIT", help="Only those that read this commit.")
@click.option("--state", "states", type=_STATES, multiple=True, help="Only those in this state; may be repeated.")
@click.option("-x", "--expand", is_flag=True, help="Without anything else: every job, not the ids that they share.")
@click.option("--no-pager", is_flag=True, hidden=True)  # there is none
@history_option(default="all")
@styled
def list_job(
    job: str | None,
    pipeline: str | None,
    inputs: tuple[str, ...],
    states: tuple[str, ...],
    expand: bool,
    no_pager: bool,
    history: int | None,
    style: Style,
) -> None:
    """List jobs, newest first: those of a pipeline, those that share an id; without anything the ids themselves."""
    if not (job or pipeline or inputs or states or expand or history is not None):
        print_list(style, _SET_HEADER, iterate("list_job_sets"), lambda found: _set_row(found, style))
        return
    read = [parse_commit(commit) for commit in inputs]
    found = iterate("list_job", pipeline=pipeline, job=job, inputs=read, versions_back=history)
    print_jobs(style, (item for item in found if not states or item["state"] in states))


@verbs.inspect.command("job")
@click.argument("job", metavar="PIPELINE@ID|ID")
@click.option("-b", "--block", is_flag=True, help="Wait until it has ended.")
@styled
def inspect_job(job: str, block: bool, style: Style) -> None:
    """Show a job; by an id alone, all jobs that share it."""
    if is_commit_id(job):
        print_jobs(style, ask_until(lambda: _list_set(job), _have_ended if block else lambda _: True))
    else:
        pipeline, job_id = parse_job(job)
        found = ask_until(
            lambda: call("inspect_job", pipeline=pipeline, job=job_id), lambda one: not block or _have_ended([one])
        )
        _print_job(style, found)


@verbs.wait.command("job")
@click.argument("job", metavar="PIPELINE@ID|ID")
@styled
def wait_job(job: str, style: Style) -> int:
    """Wait until a job has ended, or by an id alone all jobs that share it, and show them.

    The exit status is 1 if any of them did not succeed.
    """
    if is_commit_id(job):
        ended = ask_until(lambda: _list_set(job), _have_ended)
        print_jobs(style, ended)
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
@click.option("--page", type=click.IntRange(min=0), default=0, help="Which page, from 0 on (with --pageSize).")
@click.option("--pageSize", "page_size", type=click.IntRange(min=0), default=0, help="How many are on a page; 0 for all.")
@styled
def list_datum(job: str | None, spec_file: str | None, page: int, page_size: int, style: Style) -> None:
    """List the datums of a job, or with -f those that a pipeline of this spec would have now."""
    if (job is None) == (spec_file is None):
        raise click.UsageError("either a job or --file (-f) needs to be provided")
    shown = slice(page * page_size, (page + 1) * page_size) if page_size else slice(None)
    if spec_file is not None:
        found = iterate("plan_datum", text=read_spec(spec_file))
        print_list(style, ("ID", "FILES"), islice(found, shown.start, shown.stop), _planned_row)
    elif job is not None:
        pipeline, job_id = parse_job(job)
        found = iterate("list_datum", pipeline=pipeline, job=job_id)
        print_list(style, _DATUM_HEADER, islice(found, shown.start, shown.stop), _datum_row)


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


def _set_row(jobs: Facts, style: Style) -> tuple[str, ...]:
    succeeded = jobs["jobs"] - jobs["unfinished"] - jobs["failed"]
    progress = bar(succeeded, jobs["unfinished"], jobs["failed"])
    return jobs["id"], str(jobs["jobs"]), progress, style.when(jobs["created_ns"]), style.when(jobs["changed_ns"])


def _have_ended(jobs: Iterable[Facts]) -> bool:
    return all(job["finished_ns"] is not None for job in jobs)


def _status(jobs: Iterable[Facts]) -> int:
    return int(any(job["state"] != "success" for job in jobs))


def _print_job(style: Style, found: Facts) -> None:
    print_one(style, found, lambda job: _describe(job, style))


def print_jobs(style: Style, found: Iterable[Facts]) -> None:
    """Print jobs as a table, or raw."""
    print_list(style, _HEADER, found, lambda job: _row(job, style))


def _row(job: Facts, style: Style) -> tuple[str, ...]:
    return (
        job["pipeline"],
        job["id"],
        style.when(job["started_ns"]),
        span(job["started_ns"], job["finished_ns"]),
        str(job["restarts"]),
        datum_progress(job),
        size(job["downloaded_bytes"]),
        size(job["uploaded_bytes"]),
        state_and_reason(job["state"], job["reason"]),
    )


def _describe(job: Facts, style: Style) -> dict[str, str | None]:
    spec = call("inspect_pipeline", pipeline=f"{job['pipeline']}.{job['version']}")["spec"]
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
        "Data Downloaded": size(job["downloaded_bytes"]),
        "Data Uploaded": size(job["uploaded_bytes"]),
        "Process Time": duration(job["process_ns"]),
        "Datum Timeout": spec.get("datum_timeout"),
        "Job Timeout": spec.get("job_timeout"),
        "Restarts": str(job["restarts"]),
        "Pipeline Version": str(job["version"]),
        "ParallelismSpec": indented(spec.get("parallelism_spec")),
        "Input": indented(spec.get("input")),
        "Transform": indented(spec.get("transform")),
        "Output Commit": f"{job['pipeline']}@{job['id']}",
        "Egress": indented(spec.get("egress")),
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
        "Opened": ", ".join(datum["opened"]) or None,
    }
