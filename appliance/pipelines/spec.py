"""Pipeline specs: the model, reading them from JSON or YAML, and the rules a spec must keep. Pure.

`parse_specs` takes text to `Spec`s that are complete: names, branches and globs filled in and inputs sorted, so that what is
stored, shown and run is one thing. What only the store knows (do the repos exist, is the name free) is not decided here, and
neither is what has to be random or now: `salt` and the `start` of a cron input stay empty until the pipeline is created.

Fields, defaults and texts are Pachyderm's (`src/pps/pps.proto`, `src/server/pps/server/api_server.go`).
"""

import difflib
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Annotated, TypeAlias

import msgspec
import yaml
from msgspec import field, inspect
from msgspec.structs import replace

from appliance.errors import InvalidName, InvalidRequest, InvalidSpec, StoreDamaged, Unsupported
from appliance.globs import compile_glob
from appliance.names import DEFAULT_BRANCH, check_name, clean_path

DEFAULT_IMAGE = "ubuntu:20.04"
DEFAULT_DATUM_TRIES = 3
UNTIL_SUCCESS, EVERY_JOB = "until_success", "every_job"

Json: TypeAlias = object
"""Part of a document that nothing here looks into: strings, numbers, booleans, None, lists and dicts."""

_Int = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
_COMBINATORS = ("cross", "union", "join", "group")
_NAME_CHARACTERS = 63
_NAME_BYTES = 255
_LONGEST_S = 315_576_000_000  # of a protobuf Duration
_DEPTH = 100


class _Model(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    pass


class Project(_Model, frozen=True):
    name: str = ""


class Pipeline(_Model, frozen=True):
    name: str = ""
    project: Project = Project()


class SecretMount(_Model, frozen=True):
    name: str = ""
    key: str = ""
    mount_path: str = ""
    env_var: str = ""


class Transform(_Model, frozen=True):
    """What a worker runs. `stdin` is lines; `accept_return_code` are exit codes that count as success beside 0."""

    image: str = DEFAULT_IMAGE
    cmd: tuple[str, ...] = ()
    stdin: tuple[str, ...] = ()
    err_cmd: tuple[str, ...] = ()
    err_stdin: tuple[str, ...] = ()
    env: dict[str, str] = {}
    secrets: tuple[SecretMount, ...] = ()
    accept_return_code: tuple[_Int, ...] = ()
    user: str = ""
    working_dir: str = ""
    datum_batching: bool = False
    image_pull_secrets: tuple[str, ...] = ()
    dockerfile: str = ""
    build: Json = None
    debug: bool = False
    memory_volume: bool = False


class Trigger(_Model, frozen=True):
    branch: str = ""
    all: bool = False
    rate_limit_spec: str = ""
    size: str = ""
    commits: _Int = 0
    cron_spec: str = ""


class PropagationSpec(_Model, frozen=True):
    never: bool = False


class PfsInput(_Model, frozen=True):
    repo: str = ""
    name: str = ""
    branch: str = ""
    glob: str = ""
    s3: bool = False
    join_on: str = ""
    outer_join: bool = False
    group_by: str = ""
    lazy: bool = False
    empty_files: bool = False
    trigger: Trigger | None = None
    propagation_spec: PropagationSpec = PropagationSpec()
    reference: bool = False
    project: str = ""
    commit: str = ""
    repo_type: str = "user"


class CronInput(_Model, frozen=True):
    name: str = ""
    spec: str = ""
    repo: str = ""
    start: str = ""
    overwrite: bool = False
    project: str = ""
    commit: str = ""

    def as_pfs(self) -> PfsInput:
        """Return the input that reads the tick files of this one."""
        return PfsInput(repo=self.repo, name=self.name, branch=DEFAULT_BRANCH, glob="/*")


class Input(_Model, frozen=True):
    """One leaf (`pfs`, `cron`) or one combination of inputs; a parsed one has exactly one of them."""

    pfs: PfsInput | None = None
    cross: tuple["Input", ...] = ()
    union: tuple["Input", ...] = ()
    join: tuple["Input", ...] = ()
    group: tuple["Input", ...] = ()
    cron: CronInput | None = None
    git: Json = None

    @property
    def members(self) -> tuple["Input", ...]:
        """The inputs that this one combines."""
        return self.cross or self.union or self.join or self.group


class ParallelismSpec(_Model, frozen=True):
    constant: _Count = 1
    coefficient: float = 0


class ObjectStorageEgress(_Model, frozen=True):
    url: str = ""


class FileFormat(_Model, frozen=True):
    type: str = ""
    columns: tuple[str, ...] = ()


class SqlSecret(_Model, frozen=True):
    name: str = ""
    key: str = ""


class SqlDatabaseEgress(_Model, frozen=True):
    url: str = ""
    file_format: FileFormat = FileFormat()
    secret: SqlSecret | None = None


class Egress(_Model, frozen=True):
    url: str = field(default="", name="URL")
    object_storage: ObjectStorageEgress | None = None
    sql_database: SqlDatabaseEgress | None = None


class Service(_Model, frozen=True):
    internal_port: _Int = 0
    external_port: _Int = 0
    ip: str = ""
    type: str = "NodePort"


class Spout(_Model, frozen=True):
    service: Service | None = None
    overwrite: bool = False
    marker: str = ""


class Metadata(_Model, frozen=True):
    annotations: dict[str, str] = {}
    labels: dict[str, str] = {}


class GpuSpec(_Model, frozen=True):
    type: str = ""
    number: _Int = 0


class ResourceSpec(_Model, frozen=True):
    cpu: float | str = 0
    memory: str = ""
    gpu: GpuSpec | None = None
    disk: str = ""


class ChunkSpec(_Model, frozen=True):
    number: _Int = 0
    size_bytes: _Int = 0


class DatumSetSpec(_Model, frozen=True):
    number: _Int = 0
    size_bytes: _Int = 0
    per_worker: _Int = 0


class SchedulingSpec(_Model, frozen=True):
    node_selector: dict[str, str] = {}
    priority_class_name: str = ""


class Spec(_Model, frozen=True):
    """A pipeline spec. Durations stay as written; the properties ending in `_s` have them in seconds."""

    pipeline: Pipeline = Pipeline()
    description: str = ""
    transform: Transform = Transform()
    input: Input | None = None
    parallelism_spec: ParallelismSpec = ParallelismSpec()
    output_branch: str = DEFAULT_BRANCH
    s3_out: bool = False
    egress: Egress | None = None
    reprocess_spec: str = UNTIL_SUCCESS
    datum_tries: _Int = DEFAULT_DATUM_TRIES
    datum_timeout: str = ""
    job_timeout: str = ""
    salt: str = ""
    enable_stats: bool = False
    service: Service | None = None
    spout: Spout | None = None
    tf_job: Json = None
    # From here on: what only means something to Kubernetes, to the options of a command or to Pachyderm 1 (`_IGNORED`).
    metadata: Metadata | None = None
    autoscaling: bool = False
    standby: bool = False
    chunk_spec: ChunkSpec | None = None
    datum_set_spec: DatumSetSpec | None = None
    resource_requests: ResourceSpec | None = None
    resource_limits: ResourceSpec | None = None
    sidecar_resource_requests: ResourceSpec | None = None
    sidecar_resource_limits: ResourceSpec | None = None
    scheduling_spec: SchedulingSpec | None = None
    tolerations: tuple[Json, ...] = ()
    pod_spec: str = ""
    pod_patch: str = ""
    cache_size: str = ""
    max_queue_size: _Int = 0
    hashtree_spec: ParallelismSpec | None = None
    batch: bool = False
    determined: Json = None
    maximum_expected_uptime: str = ""
    update: bool = False
    reprocess: bool = False
    dry_run: bool = False
    spec_commit: Json = None

    @property
    def name(self) -> str:
        """Name of the pipeline and of its output repo."""
        return self.pipeline.name

    @property
    def datum_timeout_s(self) -> float | None:
        """Longest time for one try of a datum; None for no limit."""
        return parse_duration(self.datum_timeout) or None

    @property
    def job_timeout_s(self) -> float | None:
        """Longest time for a job; None for no limit."""
        return parse_duration(self.job_timeout) or None

    @property
    def egress_url(self) -> str:
        """Where the output commit is copied to; empty for nowhere."""
        if self.egress is None:
            return ""
        return self.egress.object_storage.url if self.egress.object_storage else self.egress.url

    @property
    def needs_sidecar(self) -> bool:
        """Whether a job of this pipeline has its own S3 gateway."""
        return self.s3_out or _has_s3(self.input)

    @property
    def notices(self) -> tuple[str, ...]:
        """One line that names the fields which are understood and have no effect here, or none."""
        ignored = [name for name in _IGNORED if getattr(self, name)]
        ignored += [f"transform.{name}" for name in _IGNORED_TRANSFORM if getattr(self.transform, name)]
        names = ", ".join(f"`{name}`" for name in ignored)
        return (f"pipeline {self.name}: no effect on a workstation: {names}",) if ignored else ()


_IGNORED = Spec.__struct_fields__[Spec.__struct_fields__.index("metadata") :]
_IGNORED_TRANSFORM = ("image_pull_secrets", "dockerfile", "build", "debug", "memory_volume")


def parse_specs(text: str | bytes, *, strict: bool = False) -> list[Spec]:
    """Return the specs of a file: JSON objects or YAML documents one after the other, or arrays of them.

    Names may be in snake_case or camelCase. Unless `strict`, a string is taken for the boolean or number it spells, and a
    repo may be written `s3://images`, both as in Pachyderm's own example of an S3 pipeline, which Pachyderm refuses. Raises
    InvalidSpec.
    """
    try:
        specs = [_parse_spec(document, strict=strict) for document in _read_documents(_decode(text))]
    except RecursionError:
        raise _malformed("nested too deeply") from None
    if not specs:
        raise _malformed("there is no spec in the text")
    return specs


def to_json(spec: Spec) -> bytes:
    """Return a spec as it is stored and shown: snake_case, without what is at its default."""
    return msgspec.json.encode(spec)


def from_json(data: bytes) -> Spec:
    """Return a spec that `to_json` wrote. Raises StoreDamaged for anything else."""
    try:
        return msgspec.json.decode(data, type=Spec)
    except msgspec.MsgspecError as error:
        raise StoreDamaged(f"stored pipeline spec can not be read: {error}") from error


def leaves(tree: Input | None) -> list[PfsInput]:
    """Return the repos an input reads, in the order in which datums name them; a cron input is the repo of its ticks."""
    return [leaf for node in _nodes(sort_input(tree)) if (leaf := _leaf(node))] if tree else []


def sort_input(tree: Input) -> Input:
    """Return an input with the members of every combination sorted by name, so that their order in a spec has no meaning.

    As Pachyderm's SortInput: a combination has the name of its first member, a cron input none.
    """
    ordered = {kind: tuple(sorted(map(sort_input, getattr(tree, kind)), key=_sort_name)) for kind in _COMBINATORS}
    return replace(tree, **ordered)


def input_shorthand(tree: Input | None) -> str:
    """Return an input as tables show it: `repo:/glob`, `(a:/ ⨯ b:/*)`, `tick:@hourly`, `none`."""
    if tree is None:
        return "none"
    if tree.pfs:
        return f"{tree.pfs.repo}:{tree.pfs.glob}"
    if tree.cron:
        return f"{tree.cron.name}:{tree.cron.spec}"
    members = [input_shorthand(member) for member in tree.members]
    if tree.group:
        return f"(Group: {', '.join(members)})"
    sign = "⨯" if tree.cross else "∪" if tree.union else "⋈"
    return f"({f' {sign} '.join(members)})"


_DURATION_PART = re.compile(r"([0-9]{0,20}(?:\.[0-9]{0,20})?)(ns|us|µs|ms|s|m|h)")
_UNIT_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_duration(text: str) -> float:
    """Return the seconds of `30s`, `1h30m`, `1.5s`; 0 for an empty text. Raises InvalidSpec."""
    if text in ("", "0"):
        return 0
    parts = _DURATION_PART.findall(text)
    if "".join(number + unit for number, unit in parts) != text or any(number in ("", ".") for number, _ in parts):
        raise _malformed(f'"{text}" is no duration such as "30s" or "1h30m"')
    total_s = sum(float(number) * _UNIT_S[unit] for number, unit in parts)
    if total_s > _LONGEST_S:
        raise _malformed(f'the duration "{text}" is too long')
    return total_s


def _malformed(problem: str) -> InvalidSpec:
    return InvalidSpec(f"malformed pipeline spec: {problem}")


def _nodes(tree: Input | None) -> Iterator[Input]:
    """Every input in a tree, members before what combines them, as Pachyderm's VisitInput."""
    if tree:
        for kind in _COMBINATORS:
            for member in getattr(tree, kind):
                yield from _nodes(member)
        yield tree


def _leaf(node: Input) -> PfsInput | None:
    return node.pfs or (node.cron.as_pfs() if node.cron else None)


def _has_s3(tree: Input | None) -> bool:
    return any(node.pfs and node.pfs.s3 for node in _nodes(tree))


def _sort_name(tree: Input) -> str:
    if tree.pfs:
        return tree.pfs.name
    return _sort_name(tree.members[0]) if tree.members else ""


def _decode(text: str | bytes) -> str:
    try:
        return (text.decode() if isinstance(text, bytes) else text).removeprefix("\ufeff")
    except UnicodeDecodeError:
        raise _malformed("not UTF-8 text") from None


def _read_documents(text: str) -> Iterator[dict[str, Json]]:
    for document in _read_values(text):
        for element in document if isinstance(document, list) else [document]:
            if not isinstance(element, dict):
                raise _malformed(f"expected an object or an array of them, got {_kind(element)}")
            _check_scalars(element)
            yield element


def _kind(value: Json) -> str:
    return {str: "a string", bool: "a boolean", list: "an array", type(None): "null"}.get(type(value), "a number")


def _read_values(text: str) -> list[Json]:
    """JSON first, although YAML contains it: tabs and `\\/` are no YAML for PyYAML, and objects in a row are none at all."""
    if not text.lstrip().startswith(("{", "[")):
        return _read_yaml(text)
    try:
        return _read_json(text)
    except ValueError as error:
        try:
            return _read_yaml(text)
        except InvalidSpec:
            raise _malformed(str(error)) from None


_JSON_SPACE = re.compile(r"[ \t\r\n]*")


def _read_json(text: str) -> list[Json]:
    decoder = json.JSONDecoder(object_pairs_hook=_unique)
    values: list[Json] = []
    at = _json_space(text, 0)
    while at < len(text):
        value, end = decoder.raw_decode(text, at)
        values.append(value)
        at = _json_space(text, end)
    return values


def _json_space(text: str, at: int) -> int:
    found = _JSON_SPACE.match(text, at)
    return found.end() if found else at


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    counts = Counter(name for name, _ in pairs)
    for name, count in counts.items():
        if count > 1:
            raise _malformed(f"field `{name}` is given {count} times")
    return dict(pairs)


class _YamlReader(yaml.SafeLoader):
    """Takes unquoted words as YAML 1.2 and Pachyderm do: `yes`, `010` and `2020-01-01` are text."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 (as PyYAML has it)

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Refuse aliases, as Pachyderm does: a few lines of them can stand for more than fits into memory."""
        if self.check_event(yaml.AliasEvent):
            place = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "alias nodes not supported", place)
        return super().compose_node(parent, index)


for _tag, _pattern, _first in (
    ("null", r"(?:~|null|Null|NULL|)\Z", ["~", "n", "N", ""]),
    ("bool", r"(?:true|True|TRUE|false|False|FALSE)\Z", list("tTfF")),
    ("int", r"-?(?:0|[1-9][0-9]*)\Z", list("-0123456789")),
    ("float", r"-?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?\Z", list("-.0123456789")),
):
    _YamlReader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), _first)


def _read_yaml(text: str) -> list[Json]:
    try:
        values = [_from_node(node) for node in yaml.compose_all(text, _YamlReader)]
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise _malformed(" ".join(str(error).split())) from None
    return [value for value in values if value is not None]


def _from_node(node: yaml.Node) -> Json:
    """Not by PyYAML's constructors, which know dates, sets and more, and fail in ways of their own."""
    if isinstance(node, yaml.SequenceNode):
        return [_from_node(item) for item in node.value]
    if isinstance(node, yaml.MappingNode):
        return _unique([(_yaml_key(key), _from_node(value)) for key, value in node.value])
    return _from_scalar(node.tag.removeprefix("tag:yaml.org,2002:"), node.value)


def _yaml_key(node: yaml.Node) -> str:
    name = _from_node(node)
    if not isinstance(name, str):
        raise _malformed(f"names of fields must be strings, not {_kind(name)}")
    return name


def _from_scalar(tag: str, text: str) -> Json:
    match tag:
        case "str":
            return text
        case "null":
            return None
        case "bool" if text.lower() in ("true", "false"):
            return text.lower() == "true"
        case "int":
            return int(text)
        case "float":
            return float(text)
    raise _malformed(f"tag {tag} is not supported")


def _check_scalars(value: Json) -> None:
    """Refuse what no process can be given and no JSON can hold."""
    match value:
        case dict():
            for name, member in value.items():
                _check_scalars(name)
                _check_scalars(member)
        case list():
            for member in value:
                _check_scalars(member)
        case str() if "\0" in value or not _is_utf8(value):
            raise _malformed(f"the text {value[:40]!a} is not UTF-8 or contains NUL")
        case float() if not math.isfinite(value):
            raise _malformed(f"the number {value} is not finite")
        case int() if not -(2**63) <= value < 2**63:
            raise _malformed("a number does not fit into 64 bits")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _parse_spec(document: dict[str, Json], *, strict: bool) -> Spec:
    document.pop("$schema", None)  # editors put it there
    fields = _normalize(document, _SPEC_TYPE, "", 0)
    assert isinstance(fields, dict)
    if "pipeline" not in fields:
        raise InvalidSpec("no `pipeline` specified")
    try:
        spec = msgspec.convert(fields, Spec, strict=strict)
    except msgspec.ValidationError as error:
        raise _malformed(str(error)) from None
    if not spec.name:
        raise InvalidSpec("no pipeline `name` specified")
    spec = _complete(spec, strict=strict)
    _check_request(spec, has_transform="transform" in fields)
    _check_pipeline(spec)
    return spec


_SPEC_TYPE = inspect.type_info(Spec)


def _normalize(value: Json, kind: inspect.Type, path: str, depth: int) -> Json:
    """Return a value with the fields of its objects in snake_case and without nulls, which mean the default.

    Raises InvalidSpec for a field that is unknown or given twice.
    """
    if depth > _DEPTH:
        raise _malformed("nested too deeply")
    for variant in kind.types if isinstance(kind, inspect.UnionType) else (kind,):
        if isinstance(variant, inspect.StructType) and isinstance(value, dict):
            return _normalize_object(value, variant, path, depth)
        if isinstance(variant, inspect.VarTupleType) and isinstance(value, list):
            return [_normalize(item, variant.item_type, f"{path}[{at}]", depth + 1) for at, item in enumerate(value)]
    return value


def _normalize_object(value: dict[str, Json], kind: inspect.StructType, path: str, depth: int) -> dict[str, Json]:
    known = {field.encode_name.lower(): field for field in kind.fields}
    result: dict[str, Json] = {}
    for written, member in value.items():
        full = f"{path}.{written}" if path else written
        if (found := known.get(_snake_case(written))) is None:
            raise _unknown_field(full, [field.encode_name for field in kind.fields])
        if found.encode_name in result:
            raise _malformed(f"field `{full}` is given 2 times")
        if member is not None:
            result[found.encode_name] = _normalize(member, found.type, full, depth + 1)
    return result


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _unknown_field(path: str, siblings: list[str]) -> InvalidSpec:
    parent, dot, written = path.rpartition(".")
    close = difflib.get_close_matches(_snake_case(written), siblings, n=1)
    meant = [f"{parent}{dot}{name}" for name in close] or _ELSEWHERE.get(_snake_case(written), [])
    hint = f", did you mean {' or '.join(f'`{name}`' for name in meant)}?" if meant else ""
    return InvalidSpec(f"unknown field `{path}` in pipeline spec{hint}")


def _fields_elsewhere() -> dict[str, list[str]]:
    """Where a field belongs that stands in the wrong object: `s3_out` in `pipeline`, `glob` in `input`."""
    places: dict[str, list[str]] = {}
    for prefix, model in (("", Spec), ("transform.", Transform), ("input.pfs.", PfsInput)):
        for name in model.__struct_fields__:
            places.setdefault(name, []).append(prefix + name)
    return places


_ELSEWHERE = _fields_elsewhere()


def _complete(spec: Spec, *, strict: bool) -> Spec:
    """Return a spec with defaults in the place of what is empty, as Pachyderm's setPipelineDefaults."""
    return replace(
        spec,
        transform=replace(spec.transform, image=spec.transform.image or DEFAULT_IMAGE),
        input=spec.input and _complete_input(spec.input, spec.name, strict=strict),
        parallelism_spec=spec.parallelism_spec
        if spec.parallelism_spec.constant
        else replace(spec.parallelism_spec, constant=1),
        output_branch=spec.output_branch or DEFAULT_BRANCH,
        reprocess_spec=spec.reprocess_spec or UNTIL_SUCCESS,
        datum_tries=spec.datum_tries if spec.datum_tries > 0 else DEFAULT_DATUM_TRIES,
    )


def _complete_input(tree: Input, pipeline: str, *, strict: bool) -> Input:
    """Names first, for the order; the order before branches, because those made for triggers are numbered along it."""
    named = _map_leaves(tree, lambda leaf: _complete_pfs(leaf, strict=strict), lambda leaf: _complete_cron(leaf, pipeline))
    made: Counter[str] = Counter()
    return _map_leaves(sort_input(named), lambda leaf: _complete_branch(leaf, pipeline, made), lambda leaf: leaf)


def _map_leaves(tree: Input, on_pfs: Callable[[PfsInput], PfsInput], on_cron: Callable[[CronInput], CronInput]) -> Input:
    members = {kind: tuple(_map_leaves(member, on_pfs, on_cron) for member in getattr(tree, kind)) for kind in _COMBINATORS}
    return replace(tree, pfs=tree.pfs and on_pfs(tree.pfs), cron=tree.cron and on_cron(tree.cron), **members)


def _complete_pfs(leaf: PfsInput, *, strict: bool) -> PfsInput:
    repo = leaf.repo if strict or not leaf.repo.startswith("s3://") else leaf.repo.removeprefix("s3://").rstrip("/")
    # A repo called out gets no name: the rule about it has a text of its own.
    name = leaf.name or (repo if repo != "out" else "")
    glob = clean_path(leaf.glob) if leaf.glob else ""
    return replace(leaf, repo=repo, name=name, glob=glob, repo_type=leaf.repo_type or "user")


def _complete_cron(leaf: CronInput, pipeline: str) -> CronInput:
    return replace(leaf, repo=leaf.repo or f"{pipeline}_{leaf.name}")


def _complete_branch(leaf: PfsInput, pipeline: str, made: Counter[str]) -> PfsInput:
    if leaf.branch:
        return leaf
    if leaf.trigger is None:
        return replace(leaf, branch=DEFAULT_BRANCH)
    made[leaf.repo] += 1
    trigger = replace(leaf.trigger, branch=leaf.trigger.branch or DEFAULT_BRANCH)
    return replace(leaf, branch=f"{pipeline}-trigger-{made[leaf.repo]}", trigger=trigger)


def _check_request(spec: Spec, *, has_transform: bool) -> None:
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


def _check_pipeline(spec: Spec) -> None:
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
    for node in _nodes(spec.input):
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
    kinds = [kind for kind in ("pfs", *_COMBINATORS, "cron") if getattr(node, kind)]
    if node.git is not None:
        raise InvalidSpec("git inputs are not supported; put the files into a repo")
    if node.pfs:
        _check_pfs(node.pfs)
    if len(kinds) > 1:
        raise InvalidSpec("multiple input types set")
    if not kinds:
        raise InvalidSpec("no input set")
    if kinds[0] in ("join", "group", "union") and _has_s3(node):
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
    if leaf.commit:
        raise InvalidSpec("input cannot come from a commit; use a branch with head pointing to the commit")
    if leaf.repo_type not in ("user", "meta"):
        raise InvalidSpec(f'input has the unknown repo_type "{leaf.repo_type}"')
    try:
        compile_glob(leaf.glob)
    except InvalidRequest as error:
        raise InvalidSpec(str(error)) from None


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


_CRON_SPEC = re.compile(
    r"@(?:yearly|annually|monthly|weekly|daily|midnight|hourly|never)|@every (?P<every>\S+)|"
    r"[0-9A-Za-z*/,?-]+(?:\s+[0-9A-Za-z*/,?-]+){4}"
)


def _check_cron(leaf: CronInput) -> None:
    _check_usable_name(leaf.name)
    _check_reference("repo", leaf.repo)
    found = _CRON_SPEC.fullmatch(leaf.spec.strip())
    if not found:
        raise InvalidSpec(
            f'error parsing cron-spec: "{leaf.spec}" has neither five fields nor one of @every, @hourly, @daily …'
        )
    if found["every"]:
        parse_duration(found["every"])


def _check_egress(egress: Egress | None) -> None:
    if egress is None or egress.sql_database is None:
        return
    if egress.object_storage:
        raise _malformed("`egress` has both `object_storage` and `sql_database`")
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
            raise _malformed(f'`transform.env` has the impossible name "{name}"')


def check_supported(spec: Spec) -> None:
    """Raise Unsupported, naming all of it, if this version does not run something that a valid spec asks for."""
    found = [what for what, is_used in _NOT_RUN if is_used(spec)]
    if found:
        raise Unsupported(f"pipeline {spec.name}: this version does not run {', '.join(found)}")


def _in_input(is_used: Callable[[Input], object]) -> Callable[[Spec], bool]:
    return lambda spec: any(is_used(node) for node in _nodes(spec.input))


def _in_pfs(is_used: Callable[[PfsInput], object]) -> Callable[[Spec], bool]:
    return lambda spec: any(node.pfs and is_used(node.pfs) for node in _nodes(spec.input))


def _uses_project(spec: Spec) -> bool:
    nodes = list(_nodes(spec.input))
    used = {spec.pipeline.project.name, *(leaf.project for node in nodes if (leaf := node.pfs or node.cron))}
    return not used <= {"", "default"}


# What runs in a later version loses its line here, and nothing else.
_NOT_RUN: tuple[tuple[str, Callable[[Spec], object]], ...] = (
    ("union inputs", _in_input(lambda node: node.union)),
    ("join inputs", _in_input(lambda node: node.join)),
    ("group inputs", _in_input(lambda node: node.group)),
    ("cron inputs", _in_input(lambda node: node.cron)),
    ("`lazy`", _in_pfs(lambda leaf: leaf.lazy)),
    ("`empty_files`", _in_pfs(lambda leaf: leaf.empty_files)),
    ("`trigger`", _in_pfs(lambda leaf: leaf.trigger)),
    ("`propagation_spec.never`", _in_pfs(lambda leaf: leaf.propagation_spec.never)),
    ('`repo_type: "meta"`', _in_pfs(lambda leaf: leaf.repo_type == "meta")),
    ("spouts", lambda spec: spec.spout),
    ("services", lambda spec: spec.service),
    ("`transform.secrets`", lambda spec: spec.transform.secrets),
    ("`transform.err_cmd`", lambda spec: spec.transform.err_cmd),
    ("`transform.user`", lambda spec: spec.transform.user),
    ("`transform.datum_batching`", lambda spec: spec.transform.datum_batching),
    ("`egress.sql_database`", lambda spec: spec.egress and spec.egress.sql_database),
    ("projects other than `default`", _uses_project),
)
