"""What the rest of the appliance asks of a complete spec: its stored form, its inputs in order, its line in a table. Pure."""

import msgspec
from msgspec.structs import replace

from appliance.errors import StoreDamaged
from appliance.pipelines.spec.model import COMBINATORS, CronInput, Input, PfsInput, Spec, iter_nodes


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
    return [leaf for node in iter_nodes(sort_input(tree)) if (leaf := _leaf(node))] if tree else []


def crons_of(tree: Input | None) -> list[CronInput]:
    """Return the cron inputs of an input."""
    return [node.cron for node in iter_nodes(tree) if node.cron]


def sort_input(tree: Input) -> Input:
    """Return an input with the members of every combination sorted by name, so that their order in a spec has no meaning.

    As Pachyderm's SortInput: a combination has the name of its first member, a cron input none.
    """
    ordered = {kind: tuple(sorted(map(sort_input, getattr(tree, kind)), key=_sort_name)) for kind in COMBINATORS}
    return replace(tree, **ordered)


def input_shorthand(tree: Input | None) -> str:
    """Return an input as tables show it: `repo:/glob`, `(a:/ ⨯ b:/*)`, `tick:@hourly`, `none`."""
    if tree is None:
        return "none"
    if tree.pfs:
        return f"{tree.pfs.source}:{tree.pfs.glob}"
    if tree.cron:
        return f"{tree.cron.name}:{tree.cron.spec}"
    members = [input_shorthand(member) for member in tree.members]
    if tree.group:
        return f"(Group: {', '.join(members)})"
    sign = "⨯" if tree.cross else "∪" if tree.union else "⋈"
    return f"({f' {sign} '.join(members)})"


def _leaf(node: Input) -> PfsInput | None:
    return node.pfs or (node.cron.as_pfs() if node.cron else None)


def _sort_name(tree: Input) -> str:
    if tree.pfs:
        return tree.pfs.name
    return _sort_name(tree.members[0]) if tree.members else ""
