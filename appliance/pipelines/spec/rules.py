"""The rules a complete spec must keep, in Pachyderm's order and words (`src/server/pps/server/api_server.go`). Pure."""

import msgspec

from appliance.errors import InvalidName, InvalidRequest, InvalidSpec
from appliance.globs import compile_glob
from appliance.names import check_name
from appliance.pipelines.spec.model import (
    COMBINATORS,
    EVERY_JOB,
    UNTIL_SUCCESS,
    CronInput,
    Egress,
    Input,
    PfsInput,
    Spec,
    Transform,
    has_s3,
    iter_nodes,
    malformed,
    parse_duration,
)
from appliance.quantities import parse_time
from appliance.schedules import parse_schedule

_NAME_CHARACTERS = 63
_NAME_BYTES = 255


def check_request(spec: Spec, *, has_transform: bool) -> None:
    """The rules of Pachyderm's validatePipelineRequest, in its order."""
    _check_pipeline_name(spec.name)
    if spec.tf_job is not None:
        raise InvalidSpec("embedding TFJobs in pipelines is not supported yet")
    if spec.s3_out and (spec.service or spec.spout):
        raise InvalidSpec("s3 output is not supported in spouts or services")
    if not has_transform:
        raise InvalidSpec("pipeline must specify a transform")
    if spec.reprocess_spec not in (UNTIL_SUCCESS, EVERY_JOB):
        raise InvalidSpec(f"invalid pipeline spec: ReprocessSpec must be one of '{UNTIL_SUCCESS}' or '{EVERY_JOB}'")
    if spec.spout and spec.autoscaling:
        raise InvalidSpec("autoscaling can't be used with spouts (spouts aren't triggered externally)")


def _check_pipeline_name(name: str) -> None:
    try:
        check_name("pipeline", name)
    except InvalidName as error:
        raise InvalidSpec(f"invalid pipeline name: {str(error).removeprefix('pipeline ')}") from None
    if not name[0].isalnum():
        raise InvalidSpec("pipeline names must start with an alphanumeric character")
    if len(name) > _NAME_CHARACTERS:
        problem = f"is {len(name)} characters long, but must have at most {_NAME_CHARACTERS}"
        raise InvalidSpec(f'pipeline name {problem}: "{name}"')


def check_pipeline(spec: Spec) -> None:
    """The rules of Pachyderm's validatePipeline, in its order, then those of 1.x and our own."""
    _check_input(spec)
    _check_egress(spec.egress)
    _check_parallelism(spec)
    _check_reference("branch", spec.output_branch)
    _check_pod(spec)
    _check_service(spec)
    if spec.s3_out and spec.enable_stats:
        raise InvalidSpec("stats are not supported for pipelines that output via Pachyderm's S3 gateway")
    _check_transform(spec.transform)
    parse_duration(spec.datum_timeout)
    parse_duration(spec.job_timeout)


def _check_reference(kind: str, name: str) -> None:
    try:
        check_name(kind, name)
    except InvalidName as error:
        raise InvalidSpec(str(error)) from None


def _check_input(spec: Spec) -> None:
    if spec.input is None:
        if spec.spout is None:
            raise InvalidSpec("no input set")
        return
    _check_names(spec.input, set())
    for node in iter_nodes(spec.input):
        _check_node(node)
    if spec.spout and spec.spout.service is None:
        raise InvalidSpec("spout pipelines (without a service) must not have an input")


def _check_names(node: Input, used: set[str]) -> None:
    if node.pfs or node.cron:
        name = node.pfs.name if node.pfs else node.cron.name if node.cron else ""
        _check_input_name(name, is_repo_out=node.pfs is not None and node.pfs.repo == "out")
        if name in used:
            raise InvalidSpec(f'name "{name}" was used more than once')
        used.add(name)
    elif node.union:
        # Members of a union are never in one datum, so they may share a name; nothing beside the union may have it.
        before = set(used)
        for member in node.union:
            _check_names(member, seen := set(before))
            used |= seen
    for member in node.cross or node.join or node.group:
        _check_names(member, used)


def _check_input_name(name: str, *, is_repo_out: bool) -> None:
    if not name and is_repo_out:
        raise InvalidSpec(
            "inputs based on repos named \"out\" must have 'name' set, as pachyderm already creates /pfs/out to collect job "
            "output"
        )
    if not name:
        raise InvalidSpec("input must specify a name")
    if name in ("out", ".env"):
        raise InvalidSpec(f"input cannot be named {name}")


def _check_usable_name(name: str) -> None:
    """Pachyderm takes any name; ours must not leave `/pfs`, and has to be the name of a variable."""
    if name in (".", "..") or {"/", "="} & set(name) or len(name.encode()) > _NAME_BYTES:
        raise InvalidSpec(f"input cannot be named {name}: it is a directory below /pfs, a bucket and a variable")


def _check_node(node: Input) -> None:
    kinds = [kind for kind in ("pfs", *COMBINATORS, "cron") if getattr(node, kind)]
    if node.git is not None:
        raise InvalidSpec("git inputs are not supported; put the files into a repo")
    if node.pfs:
        _check_pfs(node.pfs)
    if len(kinds) > 1:
        raise InvalidSpec("multiple input types set")
    if not kinds:
        raise InvalidSpec("no input set")
    if kinds[0] in ("join", "group", "union") and has_s3(node):
        raise InvalidSpec(f"S3 inputs in {kinds[0]} expressions are not supported")
    if node.cron:
        _check_cron(node.cron)


def _check_pfs(leaf: PfsInput) -> None:
    if not leaf.repo:
        raise InvalidSpec("input must specify a repo")
    _check_reference("repo", leaf.repo)
    _check_usable_name(leaf.name)
    _check_reference("branch", leaf.branch)
    if not leaf.s3 and not leaf.glob:
        raise InvalidSpec("input must specify a glob")
    if leaf.s3:
        _check_s3(leaf)
    _check_no_commit(leaf.commit)
    if leaf.repo_type not in ("user", "meta"):
        raise InvalidSpec(f'input has the unknown repo_type "{leaf.repo_type}"')
    try:
        compile_glob(leaf.glob)
    except InvalidRequest as error:
        raise InvalidSpec(str(error)) from None


def _check_no_commit(commit: str) -> None:
    if commit:
        raise InvalidSpec("input cannot come from a commit; use a branch with head pointing to the commit")


def _check_s3(leaf: PfsInput) -> None:
    if leaf.glob != "/":
        raise InvalidSpec(
            "inputs that set 's3' to 'true' must also set 'glob', to \"/\", as the S3 gateway is only able to expose data at "
            "the commit level"
        )
    for other, is_set in (("lazy", leaf.lazy), ("empty_files", leaf.empty_files)):
        if is_set:
            raise InvalidSpec(
                f"input cannot specify both 's3' and '{other}', as 's3' requires input data to be accessed via Pachyderm's "
                "S3 gateway rather than the file system"
            )


def _check_cron(leaf: CronInput) -> None:
    _check_usable_name(leaf.name)
    _check_reference("repo", leaf.repo)
    _check_no_commit(leaf.commit)
    try:
        parse_schedule(leaf.spec)
    except InvalidRequest as error:
        raise InvalidSpec(f"error parsing cron-spec: {error}") from None
    try:
        parse_time(leaf.start or "1970-01-01T00:00:00Z")
    except InvalidRequest as error:
        raise InvalidSpec(f"cron input {leaf.name}: start: {error}") from None


def _check_egress(egress: Egress | None) -> None:
    if egress is None or egress.sql_database is None:
        return
    if egress.object_storage:
        raise malformed("`egress` has both `object_storage` and `sql_database`")
    if egress.url:
        raise malformed("`egress` has both `URL` and `sql_database`")
    secret = egress.sql_database.secret
    if secret is None:
        raise InvalidSpec("egress.sql_database.secret is required")
    if not secret.name or not secret.key:
        raise InvalidSpec("egress.sql_database.secret.name and egress.sql_database.secret.key are required")


def _check_parallelism(spec: Spec) -> None:
    # A constant that is there cannot be told from the default, so 1 beside a coefficient gets the second text.
    if spec.parallelism_spec.coefficient and spec.parallelism_spec.constant != 1:
        raise InvalidSpec(
            "contradictory parallelism strategies: must set at most one of ParallelismSpec.Constant and "
            "ParallelismSpec.Coefficient"
        )
    if spec.parallelism_spec.coefficient:
        raise InvalidSpec("`parallelism_spec.coefficient` is a share of a cluster's nodes; set `parallelism_spec.constant`")
    if spec.service and spec.parallelism_spec.constant != 1:
        raise InvalidSpec("services can only be run with a constant parallelism of 1")


def _check_pod(spec: Spec) -> None:
    for name, text in (("PodSpec", spec.pod_spec), ("PodPatch", spec.pod_patch)):
        try:
            msgspec.json.decode(text or "{}")
        except msgspec.DecodeError:
            raise InvalidSpec(f"malformed {name}") from None


def _check_service(spec: Spec) -> None:
    if spec.service and spec.spout:
        raise InvalidSpec("only one of pipeline.service or pipeline.spout can be set")
    for service in (spec.service, spec.spout and spec.spout.service):
        if service and service.type not in ("", "ClusterIP", "LoadBalancer", "NodePort"):
            raise InvalidSpec(f"the following service type {service.type} is not allowed")


def _check_transform(transform: Transform) -> None:
    for secret in transform.secrets:
        if secret.env_var and not secret.key:
            raise InvalidSpec(f"secret {secret.name} has env_var set but is missing key")
    for name in transform.env:
        if not name or "=" in name:
            raise malformed(f'`transform.env` has the impossible name "{name}"')
