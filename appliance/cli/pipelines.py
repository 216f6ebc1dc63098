"""Pipelines: made, changed, shown, deleted."""

import click

from appliance.cli import verbs
from appliance.cli.connection import call, iterate
from appliance.cli.options import history_option, one_or_all, styled
from appliance.cli.output import Facts, Style, indented, objects, print_list, print_one, state
from appliance.cli.specs import images_refused, read_spec, send_spec, spec_file_option, specs_option

_HEADER = ("NAME", "VERSION", "INPUT", "CREATED", "STATE / LAST JOB", "DESCRIPTION")
# Those that are for clusters are words here too; no pipeline is in them.
_STATES = click.Choice(["starting", "running", "restarting", "failure", "paused", "standby", "crashing"])

_pipeline = click.argument("pipeline")
_dry_run = click.option("--dry-run", is_flag=True, help="Only say whether it would work.")
_raw = click.option("--raw", is_flag=True, help="Print the specs with what they leave out.")


@verbs.create.command("pipeline")
@specs_option
@images_refused
@_dry_run
@_raw
def create_pipeline(specs: str, dry_run: bool, raw: bool) -> None:
    """Make pipelines from their specs, all or none."""
    send_spec(specs, dry_run=dry_run)
    _print_complete(specs, raw=raw)


@verbs.update.command("pipeline")
@specs_option
@images_refused
@click.option("--reprocess", is_flag=True, help="Process datums again that were processed before.")
@_dry_run
@_raw
def update_pipeline(specs: str, reprocess: bool, dry_run: bool, raw: bool) -> None:
    """Give pipelines new specs, all or none; those that do not exist are made."""
    send_spec(specs, update=True, reprocess=reprocess, dry_run=dry_run)
    _print_complete(specs, raw=raw)


def _print_complete(specs: str, *, raw: bool) -> None:
    if raw:
        click.echo(objects(call("complete_spec", text=specs)), nl=False)


@verbs.validate.command("pipeline")
@spec_file_option(required=True)
def validate_pipeline(spec_file: str) -> None:
    """Say whether specs would do, whether or not there are such pipelines."""
    send_spec(read_spec(spec_file), update=True, dry_run=True)


@verbs.extract.command("pipeline")
@_pipeline
@click.option("-o", "--output", type=click.Choice(["json", "yaml"]), default="json", help="Format of the spec.")
def extract_pipeline(pipeline: str, output: str) -> None:
    """Print the spec of a pipeline, as `create pipeline` takes it."""
    click.echo(objects([call("inspect_pipeline", pipeline=pipeline)["spec"]], yaml=output == "yaml"), nl=False)


@verbs.inspect.command("pipeline")
@_pipeline
@styled
def inspect_pipeline(pipeline: str, style: Style) -> None:
    """Show a pipeline; behind its name, ^ means the version before."""
    print_one(style, call("inspect_pipeline", pipeline=pipeline), lambda found: _describe(found, style))


@verbs.list_.command("pipeline")
@click.argument("pipeline", required=False)
@click.option("-s", "--spec", "specs", is_flag=True, help="Print specs, as `create pipeline` takes them.")
@click.option("--state", "states", type=_STATES, multiple=True, help="Only those in this state; may be repeated.")
@click.option("-c", "--commit", metavar="ID", help="As they were when the commits of this id were made.")
@history_option(default="none")
@styled
def list_pipeline(
    pipeline: str | None, specs: bool, states: tuple[str, ...], commit: str | None, history: int | None, style: Style
) -> None:
    """List all pipelines, or one."""
    back = -1 if history is None else history
    listed = iterate("list_pipeline", pipeline=pipeline, versions_back=back, commit_id=commit)
    found = (item for item in listed if not states or _state(item) in states)
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
        "Stopped": str(pipeline["stopped"]).lower(),
        "Last Job": state(pipeline["last_job_state"]) if pipeline["last_job_state"] else None,
        "Input": indented(spec.get("input")),
        "Output Branch": spec.get("output_branch", "master"),
        "S3 Output": "true" if spec.get("s3_out") else None,
        "Transform": indented(spec.get("transform")),
        "Parallelism Spec": indented(spec.get("parallelism_spec")),
        "Datum Timeout": spec.get("datum_timeout"),
        "Job Timeout": spec.get("job_timeout"),
        "Egress": indented(spec.get("egress")),
    }
