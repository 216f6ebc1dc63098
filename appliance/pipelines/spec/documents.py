"""From text to documents: JSON or YAML as plain dicts and lists, with nothing in them that no process could be given. Pure.

Words without quotes mean what they mean in YAML 1.2 and to Pachyderm, not what they mean to PyYAML.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Iterator

import yaml

from appliance.errors import InvalidSpec
from appliance.pipelines.spec.model import Json, malformed


def read_documents(text: str | bytes) -> Iterator[dict[str, Json]]:
    """Yield the objects of a text: one after the other, or in arrays. Raises InvalidSpec."""
    for document in _read_values(_decode(text)):
        for element in document if isinstance(document, list) else [document]:
            if not isinstance(element, dict):
                raise malformed(f"expected an object or an array of them, got {_kind(element)}")
            _check_scalars(element)
            yield element


def _decode(text: str | bytes) -> str:
    try:
        return (text.decode() if isinstance(text, bytes) else text).removeprefix("\ufeff")
    except UnicodeDecodeError:
        raise malformed("not UTF-8 text") from None


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
            raise malformed(str(error)) from None


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
            raise malformed(f"field `{name}` is given {count} times")
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
        raise malformed(" ".join(str(error).split())) from None
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
        raise malformed(f"names of fields must be strings, not {_kind(name)}")
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
    raise malformed(f"tag {tag} is not supported")


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
            raise malformed(f"the text {value[:40]!a} is not UTF-8 or contains NUL")
        case float() if not math.isfinite(value):
            raise malformed(f"the number {value} is not finite")
        case int() if not -(2**63) <= value < 2**63:
            raise malformed("a number does not fit into 64 bits")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
