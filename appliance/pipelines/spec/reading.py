"""From text to complete specs: field names, types, defaults, then the rules. Pure."""

import difflib
import re
from collections import Counter
from collections.abc import Callable

import msgspec
from msgspec import inspect
from msgspec.structs import replace

from appliance.errors import InvalidSpec
from appliance.names import DEFAULT_BRANCH, clean_path
from appliance.pipelines.spec.documents import read_documents
from appliance.pipelines.spec.model import (
    COMBINATORS,
    DEFAULT_DATUM_TRIES,
    DEFAULT_IMAGE,
    UNTIL_SUCCESS,
    CronInput,
    Input,
    Json,
    PfsInput,
    Spec,
    Transform,
    malformed,
)
from appliance.pipelines.spec.queries import sort_input
from appliance.pipelines.spec.rules import check_pipeline, check_request

_DEPTH = 100


def parse_specs(text: str | bytes, *, strict: bool = False) -> list[Spec]:
    """Return the specs of a file: JSON objects or YAML documents one after the other, or arrays of them.

    Names may be in snake_case or camelCase. Unless `strict`, a string is taken for the boolean or number it spells, and a
    repo may be written `s3://images`, both as in Pachyderm's own example of an S3 pipeline, which Pachyderm refuses. Raises
    InvalidSpec.
    """
    try:
        specs = [_parse_spec(document, strict=strict) for document in read_documents(text)]
    except RecursionError:
        raise malformed("nested too deeply") from None
    if not specs:
        raise malformed("there is no spec in the text")
    return specs


def _parse_spec(document: dict[str, Json], *, strict: bool) -> Spec:
    document.pop("$schema", None)  # editors put it there
    fields = _normalize(document, _SPEC_TYPE, "", 0)
    assert isinstance(fields, dict)
    if "pipeline" not in fields:
        raise InvalidSpec("no `pipeline` specified")
    try:
        spec = msgspec.convert(fields, Spec, strict=strict)
    except msgspec.ValidationError as error:
        raise malformed(str(error)) from None
    if not spec.name:
        raise InvalidSpec("no pipeline `name` specified")
    if strict and spec.transform.view is not None:  # ours alone
        raise InvalidSpec("unknown field `transform.view` in pipeline spec")
    spec = _complete(spec, strict=strict)
    check_request(spec, has_transform="transform" in fields)
    check_pipeline(spec)
    return spec


_SPEC_TYPE = inspect.type_info(Spec)


def _normalize(value: Json, kind: inspect.Type, path: str, depth: int) -> Json:
    """Return a value with the fields of its objects in snake_case and without nulls, which mean the default.

    Raises InvalidSpec for a field that is unknown or given twice.
    """
    if depth > _DEPTH:
        raise malformed("nested too deeply")
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
            raise malformed(f"field `{full}` is given 2 times")
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
    members = {kind: tuple(_map_leaves(member, on_pfs, on_cron) for member in getattr(tree, kind)) for kind in COMBINATORS}
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
