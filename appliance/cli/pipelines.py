"""Pipelines."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from appliance.cli import verbs
from appliance.cli.connection import call, iterate
from appliance.cli.options import one_or_all, styled
from appliance.cli.output import Facts, Style, objects, print_list, print_one, state
from appliance.errors import InvalidRequest, InvalidSpec

_HEADER = ("NAME", "VERSION", "INPUT", "CREATED", "STATE / LAST JOB", "DESCRIPTION")

_spec_file = click.option(
    "-f", "--file", "spec_file", required=True, metavar="FILE|-", help="Specs in JSON or YAML, one or several; - is stdin."
)
_pipeline = click.argument("pipeline")


@verbs.create.command("pipeline")
@_spec_file
def create_pipeline(spec_file: str) -> None:
    """Make pipelines from their specs, all or none."""
    _send(spec_file)


@verbs.update.command("pipeline")
@_spec_file
@click.option("--reprocess", is_flag=True, help="Process datums again that were processed before.")
def update_pipeline(spec_file: str, reprocess: bool) -> None:
    """Give pipelines new specs, all or none; those that do not exist are made."""
    _send(spec_file, update=True, reprocess=reprocess)


@verbs.inspect.command("pipeline")
@_pipeline
@styled
def inspect_pipeline(pipeline: str, style: Style) -> None:
    """Show a pipeline."""
    print_one(style, call("inspect_pipeline", pipeline=pipeline), lambda found: _describe(found, style))


@verbs.list_.command("pipeline")
@click.argument("pipeline", required=False)
@click.option("-s", "--spec", "specs", is_flag=True, help="Print specs, as `create pipeline` takes them.")
@styled
def list_pipeline(pipeline: str | None, specs: bool, style: Style) -> None:
    """List all pipelines, or one."""
    found = [call("inspect_pipeline", pipeline=pipeline)] if pipeline else iterate("list_pipeline")
    if specs:
        click.echo(objects((item["spec"] for item in found), yaml=style.yaml), nl=False)
    else:
        print_list(style, _HEADER, found, lambda item: _row(item, style))


@verbs.delete.command("pipeline")
@one_or_all("pipeline")
@click.option("--keep-repo", is_flag=True, help="Keep the output repo.")
def delete_pipeline(name: str | None, keep_repo: bool) -> None:
    """Delete a pipeline with its jobs and output repo, or all pipelines."""
    if name is None:
        call("delete_all_pipelines", keep_repo=keep_repo)
    else:
        call("delete_pipeline", pipeline=name, keep_repo=keep_repo)


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


@verbs.run.command("cron")
@_pipeline
def run_cron(pipeline: str) -> None:
    """Let the cron inputs of a pipeline tick now."""
    call("run_cron", pipeline=pipeline)


def _send(spec_file: str, **how: Any) -> None:
    for notice in call("create_pipeline", text=_read(spec_file), **how):
        click.echo(notice, err=True)


def _read(spec_file: str) -> str:
    if "://" in spec_file:
        raise InvalidRequest("a spec is a file of this machine, or - for stdin")
    content = sys.stdin.buffer.read() if spec_file == "-" else Path(spec_file).read_bytes()
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise InvalidSpec(f"malformed pipeline spec: {spec_file} is not UTF-8 text") from None


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
