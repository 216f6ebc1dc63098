"""Every field of a spec, and what becomes of it: it has its meaning, is taken and named in a notice, or is refused."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec import inspect

from appliance.errors import ApplianceError
from appliance.pipelines.spec import Spec, check_supported, parse_specs, to_json

_IMAGES = {"repo": "images", "glob": "/*"}
_TICKS = {"name": "tick", "spec": "@hourly"}
_TWO = [{"pfs": _IMAGES}, {"pfs": _IMAGES | {"name": "again"}}]
_KEYED = [
    {"pfs": _IMAGES | {"join_on": "$1", "group_by": "$1"}},
    {"pfs": _IMAGES | {"name": "b", "join_on": "$1", "group_by": "$1"}},
]
_TABLES = {"url": "postgresql://u@h/d", "file_format": {"type": "CSV", "columns": ["a"]}, "secret": {"name": "s", "key": "k"}}
_SECRET = {"name": "s", "key": "k", "env_var": "V", "mount_path": "/m"}

_OURS = {"transform.view"}
"""What Pachyderm refuses, and so does strict mode."""

# By path: a value that is not the default.
MEANT: dict[str, Any] = {
    "pipeline.name": "sizes",
    "pipeline.project.name": "default",
    "description": "words",
    "transform.image": "python:3.13",
    "transform.cmd": ["sh"],
    "transform.stdin": ["true"],
    "transform.err_cmd": ["true"],
    "transform.err_stdin": ["true"],
    "transform.env": {"A": "b"},
    "transform.secrets": [_SECRET],
    "transform.accept_return_code": [3],
    "transform.user": "nobody",
    "transform.working_dir": "/tmp",
    "transform.datum_batching": True,
    "transform.view": "files",
    "input.pfs.repo": "other",
    "input.pfs.name": "other",
    "input.pfs.branch": "dev",
    "input.pfs.glob": "/",
    "input.pfs.s3": True,
    "input.pfs.join_on": "$1",
    "input.pfs.outer_join": True,
    "input.pfs.group_by": "$1",
    "input.pfs.lazy": True,
    "input.pfs.empty_files": True,
    "input.pfs.trigger.branch": "staging",
    "input.pfs.trigger.all": True,
    "input.pfs.trigger.rate_limit_spec": "@hourly",
    "input.pfs.trigger.size": "1M",
    "input.pfs.trigger.commits": 3,
    "input.pfs.trigger.cron_spec": "@daily",
    "input.pfs.propagation_spec.never": True,
    "input.pfs.reference": True,
    "input.pfs.project": "default",
    "input.pfs.repo_type": "meta",
    "input.cross": _TWO,
    "input.union": _TWO,
    "input.join": _KEYED,
    "input.group": _KEYED,
    "input.cron.name": "tock",
    "input.cron.spec": "@daily",
    "input.cron.repo": "ticks",
    "input.cron.start": "2026-01-01T00:00:00Z",
    "input.cron.overwrite": True,
    "input.cron.project": "default",
    "parallelism_spec.constant": 4,
    "output_branch": "results",
    "s3_out": True,
    "egress.URL": "s3://bucket/results",
    "egress.object_storage.url": "s3://bucket/results",
    "egress.mirror": True,
    **{f"egress.sql_database.{name}": _TABLES for name in ("url", "file_format.type", "file_format.columns")},
    **{f"egress.sql_database.{name}": _TABLES for name in ("secret.name", "secret.key")},
    "reprocess_spec": "every_job",
    "datum_tries": 7,
    "datum_timeout": "30s",
    "job_timeout": "1h",
    "salt": "pepper",
    "enable_stats": True,  # what it asks for is there anyway
}
NOTICED: dict[str, Any] = {
    "transform.image_pull_secrets": ["s"],
    "transform.dockerfile": "Dockerfile",
    "transform.build": {"path": "."},
    "transform.debug": True,
    "transform.memory_volume": True,
    "metadata": {"annotations": {"a": "b"}, "labels": {"a": "b"}},
    "autoscaling": True,
    "standby": True,
    "chunk_spec": {"number": 2, "size_bytes": 5},
    "datum_set_spec": {"number": 2, "size_bytes": 5, "per_worker": 1},
    **{
        name: {"cpu": 0.5, "memory": "1G", "gpu": {"type": "nvidia.com/gpu", "number": 1}, "disk": "1G"}
        for name in ("resource_requests", "resource_limits", "sidecar_resource_requests", "sidecar_resource_limits")
    },
    "scheduling_spec": {"node_selector": {"a": "b"}, "priority_class_name": "high"},
    "tolerations": [{"key": "a"}],
    "pod_spec": "{}",
    "pod_patch": "[]",
    "cache_size": "64M",
    "max_queue_size": 1,
    "hashtree_spec": {"constant": 1},
    "batch": True,
    "determined": {"workspaces": ["w"]},
    "maximum_expected_uptime": "1h",
    "update": True,
    "reprocess": True,
    "dry_run": True,
    "spec_commit": {"id": "1"},
}
REFUSED: dict[str, tuple[Any, str]] = {
    "input.pfs.commit": ("c", "input cannot come from a commit; use a branch with head pointing to the commit"),
    "input.cron.commit": ("c", "input cannot come from a commit; use a branch with head pointing to the commit"),
    "input.git": ({"url": "u"}, "git inputs are not supported; put the files into a repo"),
    "parallelism_spec.coefficient": (
        0.5,
        "`parallelism_spec.coefficient` is a share of a cluster's nodes; set `parallelism_spec.constant`",
    ),
    "service": ({"internal_port": 80, "external_port": 8080, "ip": "", "type": "NodePort"}, "does not run services"),
    "spout": ({"service": {"internal_port": 80}, "overwrite": True, "marker": "m"}, "does not run spouts"),
    "tf_job": ({}, "embedding TFJobs in pipelines is not supported yet"),
}


def document(path: str, value: Any) -> dict[str, Any]:
    """Return a spec with a field set, and what else there has to be then."""
    spec: dict[str, Any] = {"pipeline": {"name": "edges"}, "transform": {"cmd": ["true"]}}
    kind = path.split(".")[1] if path.startswith("input.") else "pfs"
    spec["input"] = {"cron": dict(_TICKS)} if kind == "cron" else {"pfs": dict(_IMAGES)} if kind == "pfs" else {}
    if path == "input.pfs.s3":
        spec["input"]["pfs"]["glob"] = "/"
    if path.startswith("input.pfs.trigger."):
        spec["input"]["pfs"]["trigger"] = {"commits": 1}
    if path.startswith("egress.sql_database."):
        return spec | {"egress": {"sql_database": value}}
    if path.startswith("egress.mirror"):
        spec["egress"] = {"URL": "s3://bucket"}
    *parents, name = path.split(".")
    place = spec
    for parent in parents:
        place = place.setdefault(parent, {})
    place[name] = value
    return spec


def parse(path: str, value: Any) -> Spec:
    (spec,) = parse_specs(json.dumps(document(path, value)), strict=path not in _OURS)
    check_supported(spec)
    return spec


def found_at(spec: Spec, path: str) -> Any:
    """Return what the stored form of a spec has at a path."""
    found = json.loads(to_json(spec))
    for name in path.split("."):
        found = found[name]
    return found


@pytest.mark.parametrize("path", MEANT)
def test_field_that_means_something_is_kept(path: str) -> None:
    value = MEANT[path]
    spec = parse(path, value)
    assert spec.notices == ()
    if path.startswith("egress.sql_database."):
        path, value = "egress.sql_database", _TABLES
    if isinstance(value, list) and path.startswith("input."):
        assert len(found_at(spec, path)) == len(value)  # completed and sorted
    else:
        assert found_at(spec, path) == value


@pytest.mark.parametrize("path", NOTICED)
def test_field_for_clusters_is_named_in_a_notice(path: str) -> None:
    assert parse(path, NOTICED[path]).notices == (f"pipeline edges: no effect on a workstation: `{path}`",)


@pytest.mark.parametrize("path", REFUSED)
def test_field_that_can_not_be_had_is_refused(path: str) -> None:
    value, text = REFUSED[path]
    with pytest.raises(ApplianceError) as refused:
        parse(path, value)
    assert str(refused.value).removeprefix("pipeline edges: this version ") == text


def test_project_is_refused_unless_it_is_the_only_one() -> None:
    for path in ("pipeline.project.name", "input.pfs.project", "input.cron.project"):
        with pytest.raises(ApplianceError, match="does not run projects other than `default`"):
            parse(path, "mine")


def test_every_field_is_in_one_of_the_tables() -> None:
    known = [*MEANT, *NOTICED, *REFUSED]
    fields = set(_iter_fields(inspect.type_info(Spec), ""))
    assert {path for path in fields if not any(path == name or path.startswith(f"{name}.") for name in known)} == set()
    assert {name for name in known if not any(path == name or path.startswith(f"{name}.") for path in fields)} == set()
    assert len(known) == len(set(known))


def _iter_fields(kind: inspect.Type, path: str, depth: int = 0) -> Iterator[str]:
    """Yield the paths of all fields in objects; what arrays have stands for itself."""
    structs = [
        one for one in (kind.types if isinstance(kind, inspect.UnionType) else (kind,)) if isinstance(one, inspect.StructType)
    ]
    if not structs:
        yield path
    for struct in structs:
        for field in struct.fields:
            yield from _iter_fields(field.type, f"{path}.{field.encode_name}" if path else field.encode_name, depth + 1)
