"""`draw pipeline`: repos, and the pipelines between them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import click

from appliance.cli import verbs
from appliance.cli.connection import iterate


@dataclass(frozen=True, slots=True)
class Dag:
    """The pipelines with the repos they read, both by name; a repo that no pipeline makes is a source."""

    reads: dict[str, list[str]]

    @property
    def sources(self) -> list[str]:
        """Repos that no pipeline makes."""
        return sorted({repo for repos in self.reads.values() for repo in repos} - self.reads.keys())

    def readers(self, repo: str) -> list[str]:
        """Return the pipelines that read a repo."""
        return [pipeline for pipeline, repos in self.reads.items() if repo in repos]


@verbs.draw.command("pipeline")
@click.argument("pipelines", metavar="[PIPELINE...]", nargs=-1)
@click.option("--format", "form", type=click.Choice(["text", "dot", "mermaid"]), default="text", help="text by default.")
def draw_pipeline(pipelines: tuple[str, ...], form: str) -> None:
    """Draw all pipelines, or some with everything upstream of them: as text, for Graphviz or for Mermaid."""
    specs = {item["name"]: item["spec"] for item in iterate("list_pipeline")}
    if missing := [name for name in pipelines if name not in specs]:
        raise click.ClickException(f'pipeline "{missing[0]}" not found')
    reads = {name: sorted(set(_iter_repos(specs[name].get("input", {})))) for name in sorted(specs)}
    lines = {"text": _text, "dot": _dot, "mermaid": _mermaid}[form](_restrict(Dag(reads), pipelines))
    for line in lines:
        click.echo(line)


def _iter_repos(tree: dict[str, Any]) -> Iterator[str]:
    if "pfs" in tree:
        yield tree["pfs"]["repo"]
    if "cron" in tree:
        yield tree["cron"]["repo"]
    for kind in ("cross", "union", "join", "group"):
        for member in tree.get(kind, ()):
            yield from _iter_repos(member)


def _restrict(dag: Dag, pipelines: tuple[str, ...]) -> Dag:
    """Return the pipelines named, if any are, and those upstream of them."""
    if not pipelines:
        return dag
    kept: set[str] = set()
    waiting = list(pipelines)
    while waiting:
        name = waiting.pop()
        if name in dag.reads and name not in kept:
            kept.add(name)
            waiting += dag.reads[name]
    return Dag({name: repos for name, repos in dag.reads.items() if name in kept})


def _text(dag: Dag) -> Iterator[str]:
    """Each pipeline stands below everything it reads; what is below it is drawn the first time only."""
    drawn: set[str] = set()
    for root in (*dag.sources, *(name for name, repos in dag.reads.items() if not repos)):
        yield root
        yield from _below(dag, root, "", drawn)


def _below(dag: Dag, name: str, indent: str, drawn: set[str]) -> Iterator[str]:
    # A stack, for a chain of pipelines may be longer than Python's.
    waiting = [(name, indent, "", True)]
    while waiting:
        here, margin, corner, last = waiting.pop()
        readers = dag.readers(here)
        again = here in drawn and bool(readers)
        if corner:
            yield f"{margin}{corner} {here}{' …' if again else ''}"
            margin += "   " if last else "│  "
        if again:
            continue
        drawn.add(here)
        ends = [("└─", True) if reader == readers[-1] else ("├─", False) for reader in readers]
        waiting += [(reader, margin, *end) for reader, end in zip(reversed(readers), reversed(ends), strict=True)]


def _dot(dag: Dag) -> Iterator[str]:
    """Graphviz; repos are cylinders."""
    yield "digraph pipelines {"
    yield "  rankdir=LR;"
    for repo in dag.sources:
        yield f"  {json.dumps(repo)} [shape=cylinder];"
    for pipeline, repos in dag.reads.items():
        yield f"  {json.dumps(pipeline)} [shape=box];"
        for repo in repos:
            yield f"  {json.dumps(repo)} -> {json.dumps(pipeline)};"
    yield "}"


def _mermaid(dag: Dag) -> Iterator[str]:
    """Mermaid; nodes have numbers, since some names (`end`) are words of its language."""
    numbers = {name: f"n{number}" for number, name in enumerate((*dag.sources, *dag.reads))}
    yield "flowchart LR"
    for repo in dag.sources:
        yield f'  {numbers[repo]}[("{repo}")]'
    for pipeline in dag.reads:
        yield f'  {numbers[pipeline]}["{pipeline}"]'
    for pipeline, repos in dag.reads.items():
        for repo in repos:
            yield f"  {numbers[repo]} --> {numbers[pipeline]}"
