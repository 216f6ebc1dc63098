"""What a spec is: its parts as frozen structs, and what a complete one says about itself. Pure.

Fields, defaults and texts are Pachyderm's (`src/pps/pps.proto`).
"""

import math
from collections.abc import Iterator
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import field

from appliance import quantities
from appliance.errors import InvalidRequest, InvalidSpec
from appliance.names import DEFAULT_BRANCH, meta_repo

DEFAULT_IMAGE = "ubuntu:20.04"
DEFAULT_DATUM_TRIES = 3
UNTIL_SUCCESS, EVERY_JOB = "until_success", "every_job"

Json: TypeAlias = object
"""Part of a document that nothing here looks into: strings, numbers, booleans, None, lists and dicts."""

_Int = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
COMBINATORS = ("cross", "union", "join", "group")


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


View = Literal["fuse", "files"]
"""How user code sees its inputs: through the mount, or as hard links to the stored files."""


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
    # Not Pachyderm's: how user code sees its inputs, if not as the appliance would have it.
    view: View | None = None
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

    @property
    def source(self) -> str:
        """The repo that it reads: the one named, or that which shows the datums of the pipeline named."""
        return meta_repo(self.repo) if self.repo_type == "meta" else self.repo


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
    # Not Pachyderm's: delete what is below the URL and not in the output.
    mirror: bool = False
    sql_database: SqlDatabaseEgress | None = None

    @property
    def object_url(self) -> str:
        """The object store's address that the output is copied to; empty for none."""
        return self.object_storage.url if self.object_storage else self.url

    @property
    def is_somewhere(self) -> bool:
        """Whether there is anything to be done."""
        return bool(self.object_url or self.sql_database)


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
    def memory_bytes(self) -> int:
        """The most memory that user code may have; 0 for no limit. Raises InvalidSpec."""
        return _parse_size(self.resource_limits.memory) if self.resource_limits and self.resource_limits.memory else 0

    @property
    def cpus(self) -> float:
        """How many processors' time user code may have; 0 for no limit. Raises InvalidSpec."""
        return parse_cpus(self.resource_limits.cpu) if self.resource_limits else 0.0

    @property
    def egress_url(self) -> str:
        """Where the output commit is copied to; empty for nowhere."""
        return self.egress.object_url if self.egress else ""

    @property
    def needs_sidecar(self) -> bool:
        """Whether a job of this pipeline has its own S3 gateway."""
        return self.s3_out or has_s3(self.input)

    @property
    def notices(self) -> tuple[str, ...]:
        """One line that names the fields which are understood and have no effect here, or none."""
        return self.list_notices(containers=False)

    def list_notices(self, *, containers: bool) -> tuple[str, ...]:
        """The same where user code runs in `containers`, which have limits, and images that may change."""
        ignored = [name for name in _IGNORED if getattr(self, name) and not (containers and name == "resource_limits")]
        ignored += [f"transform.{name}" for name in _IGNORED_TRANSFORM if getattr(self.transform, name)]
        names = ", ".join(f"`{name}`" for name in ignored)
        notices = (f"pipeline {self.name}: no effect on a workstation: {names}",) if ignored else ()
        loose = _is_loose(self.transform.image) if containers else False
        what = (
            f"pipeline {self.name}: image {self.transform.image} may be another one tomorrow: give it a tag other than latest"
        )
        return (*notices, what) if loose else notices


def _is_loose(image: str) -> bool:
    """Tell whether the name of an image is one that moves: without a tag or digest, or `latest`."""
    _, _, tag = image.rpartition("/")[2].partition(":")
    return "@" not in image and tag in ("", "latest")


_IGNORED = Spec.__struct_fields__[Spec.__struct_fields__.index("metadata") :]
_IGNORED_TRANSFORM = ("image_pull_secrets", "dockerfile", "build", "debug", "memory_volume")


def parse_duration(text: str) -> float:
    """Return the seconds of `30s`, `1h30m`, `1.5s`; 0 for an empty text. Raises InvalidSpec."""
    try:
        return quantities.parse_duration(text)
    except InvalidRequest as error:
        raise malformed(str(error)) from None


def parse_cpus(amount: float | str) -> float:
    """Return the processors in `0.5`, `"2"`, `"500m"`. Raises InvalidSpec."""
    text = str(amount)
    try:
        found = float(text[:-1]) / 1000 if text.endswith("m") else float(text)
    except ValueError:
        found = math.nan
    if not 0 <= found < math.inf:
        raise malformed(f'"{text}" is no number of processors such as "0.5" or "500m"')
    return found


def _parse_size(text: str) -> int:
    try:
        return quantities.parse_size(text)
    except InvalidRequest as error:
        raise malformed(str(error)) from None


def malformed(problem: str) -> InvalidSpec:
    """Return the error for a text that is no spec at all."""
    return InvalidSpec(f"malformed pipeline spec: {problem}")


def iter_nodes(tree: Input | None) -> Iterator[Input]:
    """Every input in a tree, members before what combines them, as Pachyderm's VisitInput."""
    if tree:
        for kind in COMBINATORS:
            for member in getattr(tree, kind):
                yield from iter_nodes(member)
        yield tree


def has_s3(tree: Input | None) -> bool:
    """Tell whether anything in a tree is read through a job's own S3 gateway."""
    return any(node.pfs and node.pfs.s3 for node in iter_nodes(tree))
