"""Pipelines: made, changed, shown, deleted."""

import json
from typing import Any

import click

from appliance.cli import verbs
from appliance.cli.connection import call, iterate
from appliance.cli.options import one_or_all, styled
from appliance.cli.output import Facts, Style, objects, print_list, print_one, state
from appliance.cli.specs import read_spec, send_spec, spec_file_option

_HEADER = ("NAME", "VERSION", "INPUT", "CREATED", "STATE / LAST JOB", "DESCRIPTION")
_STATES = click.Choice(["running", "paused"])

_pipeline = click.argument("pipeline")
_dry_run = click.option("--dry-run", is_flag=True, help="Only say whether it would work.")


@verbs.create.command("pipeline")
@spec_file_option(required=True)
@_dry_run
def create_pipeline(spec_file: str, dry_run: bool) -> None:
    """Make pipelines from their specs, all or none."""
    send_spec(read_spec(spec_file), dry_run=dry_run)


@verbs.update.command("pipeline")
@spec_file_option(required=True)
@click.option("--reprocess", is_flag=True, help="Process datums again that were processed before.")
@_dry_run
def update_pipeline(spec_file: str, reprocess: bool, dry_run: bool) -> None:
    """Give pipelines new specs, all or none; those that do not exist are made."""
    send_spec(read_spec(spec_file), update=True, reprocess=reprocess, dry_run=dry_run)


@verbs.inspect.command("pipeline")
@_pipeline
@styled
def inspect_pipeline(pipeline: str, style: Style) -> None:
    """Show a pipeline."""
    print_one(style, call("inspect_pipeline", pipeline=pipeline), lambda found: _describe(found, style))


@verbs.list_.command("pipeline")
@click.argument("pipeline", required=False)
@click.option("-s", "--spec", "specs", is_flag=True, help="Print specs, as `create pipeline` takes them.")
@click.option("--state", "states", type=_STATES, multiple=True, help="Only those in this state; may be repeated.")
@styled
def list_pipeline(pipeline: str | None, specs: bool, states: tuple[str, ...], style: Style) -> None:
    """List all pipelines, or one."""
    found = [call("inspect_pipeline", pipeline=pipeline)] if pipeline else iterate("list_pipeline")
    found = (item for item in found if not states or _state(item) in states)
    if specs:
        click.echo(objects((item["spec"] for item in found), yaml=style.yaml), nl=False)
    else:
        print_list(style, _HEADER, found, lambda item: _row(item, style))


@verbs.delete.command("pipeline")
@one_or_all("pipeline")
@click.option("--keep-repo", is_flag=True, help="Keep the output repo.")
@click.option("-f", "--force", is_flag=True, help="Even if other pipelines read its output.")
def delete_pipeline(name: str | None, keep_repo: bool, force: bool) -> None:
    """Delete a pipeline with its jobs and output repo, or all pipelines."""
    if name is None:
        call("delete_all_pipelines", keep_repo=keep_repo, force=force)
    else:
        call("delete_pipeline", pipeline=name, keep_repo=keep_repo, force=force)


@verbs.start.command("pipeline")
@_pipeline
def start_pipeline(pipeline: str) -> None:
    """Let a stopped pipeline run again."""
    call("start_pipeline", pipeline=pipeline)


@verbs.stop.command("pipeline")
@_pipeline
def stop_pipeline(pipeline: str) -> None:
    """Keep a pipeline from starting jobs."""
    call("stop_pipeline", pipeline=pipeline)


def _state(pipeline: Facts) -> str:
    return "paused" if pipeline["stopped"] else "running"


def _row(pipeline: Facts, style: Style) -> tuple[str, ...]:
    return (
        pipeline["name"],
        str(pipeline["version"]),
        pipeline["input"],
        style.when(pipeline["created_ns"]),
        f"{state(_state(pipeline))} / {state(pipeline['last_job_state'] or '-')}",
        pipeline["description"],
    )


def _describe(pipeline: Facts, style: Style) -> dict[str, str | None]:
    spec = pipeline["spec"]
    return {
        "Name": pipeline["name"],
        "Description": pipeline["description"] or None,
        "Version": str(pipeline["version"]),
        "Created": style.when(pipeline["created_ns"]),
        "State": state(_state(pipeline)),
        "Last Job": state(pipeline["last_job_state"]) if pipeline["last_job_state"] else None,
        "Input": _indented(spec.get("input")),
        "Output Branch": spec.get("output_branch", "master"),
        "S3 Output": "true" if spec.get("s3_out") else None,
        "Transform": _indented(spec.get("transform")),
        "Parallelism Spec": _indented(spec.get("parallelism_spec")),
        "Egress": _indented(spec.get("egress")),
    }


def _indented(part: Any) -> str | None:
    return "\n" + json.dumps(part, indent=2, ensure_ascii=False) if part else None
