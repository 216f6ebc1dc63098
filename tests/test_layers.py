"""Imports point downwards only: `cli → control → app → doors → store → names, errors`; read from the source."""

import ast
import graphlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "appliance"
PURE = {"names", "errors", "globs", "quantities", "schedules"}
DOOR = {"store", "httpd", "config"} | PURE
EVERYTHING_BELOW_CLI = {"app", "control", "config", "gateway", "mount", "pipelines", "external", "store", "httpd"} | PURE

MAY_IMPORT = {
    "": set(),
    "errors": set(),
    "names": {"errors"},
    "globs": {"errors", "names"},
    "quantities": {"errors"},
    "schedules": {"errors", "quantities"},
    "config": {"errors", "names"},
    "httpd": {"errors"},
    "store": PURE,
    "gateway": DOOR,
    "mount": DOOR,
    "launching": set(),
    "pipelines": DOOR | {"launching"},
    "external": DOOR,
    "clock": {"store"} | PURE,
    "expiry": {"store"},
    "upkeep": {"store"} | PURE,
    "entrances": {"httpd", "gateway", "store", "config"} | PURE,
    "app": EVERYTHING_BELOW_CLI | {"clock", "entrances", "expiry", "upkeep"},
    "control": EVERYTHING_BELOW_CLI,
    "cli": {"control", "config", "names", "errors"},
    "client": {"control", "config", "names", "errors"},
    "__main__": {"cli"},
}
ONLY_IN = {
    "moto": "gateway",
    "werkzeug": "gateway",
    "pyfuse3": "mount",
    "sqlite3": "store",
    "sqlite_utils": "store",
    "click": "cli",
    "obstore": "external",
    "botocore": "external",
    "urllib3": "external",
    "psycopg": "external",
    "_jsonnet": "cli",
}
WITHOUT_TRIO = {
    "names",
    "errors",
    "globs",
    "quantities",
    "schedules",
    "pipelines.spec",
    "pipelines.datums",
    "gateway.chunked",
    "gateway.signature",
    "external.urls",
}


@dataclass(frozen=True)
class Import:
    """`importer` and `imported` are dotted; ours without the leading `appliance`. `function` is where a late one stands."""

    importer: str
    imported: str
    ours: bool
    function: str

    @property
    def part(self) -> str:
        return self.importer.partition(".")[0]

    @property
    def imported_part(self) -> str:
        return self.imported.partition(".")[0]


def module_of(file: Path) -> str:
    return ".".join(file.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").rstrip(".")


def imports_of(file: Path) -> Iterator[Import]:
    module = module_of(file)
    for node, function in _walk(ast.parse(file.read_text()), ""):
        for name in _names(node, file):
            top, _, rest = name.partition(".")
            yield Import(module, rest if top == "appliance" else name, top == "appliance", function)


def _walk(node: ast.AST, function: str) -> Iterator[tuple[ast.AST, str]]:
    for child in ast.iter_child_nodes(node):
        yield child, function
        inside = child.name if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) else function
        yield from _walk(child, inside)


def _names(node: ast.AST, file: Path) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"{file}: imports are absolute"
        return [_module_named(node.module or "", alias.name) for alias in node.names]
    return []


def _module_named(module: str, name: str) -> str:
    """Return `module.name` if that is one of our modules (`from appliance.store import files`), else `module`."""
    path = PACKAGE.parent.joinpath(*module.split("."), name)
    return f"{module}.{name}" if path.is_dir() or path.with_suffix(".py").is_file() else module


FILES = sorted(PACKAGE.rglob("*.py"))
IMPORTS = [found for file in FILES for found in imports_of(file)]


def test_there_is_something_to_read() -> None:
    assert Import("store.files", "store.commits", True, "") in IMPORTS
    assert {found.part for found in IMPORTS} <= set(MAY_IMPORT)


@pytest.mark.parametrize("part", sorted(MAY_IMPORT))
def test_imports_point_downwards(part: str) -> None:
    allowed = MAY_IMPORT[part] | {part, ""}  # everybody may ask for the version
    ours = [found for found in IMPORTS if found.part == part and found.ours]
    assert [found for found in ours if found.imported_part not in allowed and not _is_serve(found)] == []


def _is_serve(found: Import) -> bool:
    """`appliance serve` is the one command that is the appliance."""
    inside = found.importer == "cli.serve" or found.function == "serve"
    return found.part == "cli" and inside and found.imported_part == "app"


@pytest.mark.parametrize("library", sorted(ONLY_IN))
def test_library_stays_behind_its_door(library: str) -> None:
    users = {found.part for found in IMPORTS if not found.ours and found.imported_part == library}
    assert users <= {ONLY_IN[library]}


def test_trio_is_neither_in_the_store_nor_in_a_pure_module() -> None:
    users = {found.importer for found in IMPORTS if found.imported_part == "trio" and not found.ours}
    assert {user for user in users if _is_without_trio(user)} == set()


def _is_without_trio(module: str) -> bool:
    """A package stands for all of its modules."""
    return any(module == pure or module.startswith(f"{pure}.") for pure in WITHOUT_TRIO | {"store"})


def test_modules_do_not_import_each_other_in_a_circle() -> None:
    modules = {module_of(file) for file in FILES}
    graph: dict[str, set[str]] = {module: set() for module in modules}
    for found in IMPORTS:
        if found.ours and not found.function and found.imported != found.importer:
            graph[found.importer].add(found.imported)
    list(graphlib.TopologicalSorter(graph).static_order())
