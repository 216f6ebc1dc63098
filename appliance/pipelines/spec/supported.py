"""What a valid spec may ask for and this version does not run. Pure."""

from collections.abc import Callable

from appliance.errors import Unsupported
from appliance.pipelines.spec.model import Spec, iter_nodes


def check_supported(spec: Spec) -> None:
    """Raise Unsupported, naming all of it, if this version does not run something that a valid spec asks for."""
    found = [what for what, is_used in _NOT_RUN if is_used(spec)]
    if found:
        raise Unsupported(f"pipeline {spec.name}: this version does not run {', '.join(found)}")


def _uses_project(spec: Spec) -> bool:
    nodes = list(iter_nodes(spec.input))
    used = {spec.pipeline.project.name, *(leaf.project for node in nodes if (leaf := node.pfs or node.cron))}
    return not used <= {"", "default"}


# What runs in a later version loses its line here, and nothing else.
_NOT_RUN: tuple[tuple[str, Callable[[Spec], object]], ...] = (
    ("spouts", lambda spec: spec.spout),
    ("services", lambda spec: spec.service),
    ("projects other than `default`", _uses_project),
)
