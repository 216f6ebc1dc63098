"""CORS: the rules of a bucket as XML and as they are kept, and what they say about a request (pure).

https://docs.aws.amazon.com/AmazonS3/latest/userguide/ManageCorsUsing.html
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import translate
from functools import lru_cache
from re import Pattern
from re import compile as compile_pattern
from typing import Any

from moto.s3.exceptions import MalformedXML

from appliance.gateway.conditions import Header
from appliance.gateway.errors import S3Error
from appliance.gateway.parsing import parse_xml

_METHODS = {"GET", "PUT", "HEAD", "POST", "DELETE"}
_LISTS = ("AllowedMethod", "AllowedOrigin", "AllowedHeader", "ExposeHeader")
_MOST_RULES, _MOST_VALUES, _LONGEST = 100, 100, 1000

Rule = Mapping[str, Any]
"""One rule, in the names of its elements: lists, MaxAgeSeconds and ID."""


def parse_rules(body: bytes) -> list[dict[str, Any]]:
    """Return the rules of a CORSConfiguration. Raises S3Error."""
    wanted = parse_xml(body, lists=("CORSRule", *_LISTS)).get("CORSConfiguration")
    rules = wanted.get("CORSRule") if isinstance(wanted, dict) else None
    if not rules:
        raise MalformedXML
    if len(rules) > _MOST_RULES:
        raise S3Error("InvalidRequest", f"The number of CORS rules should not exceed the limit of {_MOST_RULES} rules.")
    return [_parse_rule(rule) for rule in rules]


def _parse_rule(rule: Any) -> dict[str, Any]:
    if not isinstance(rule, dict) or rule.keys() - {*_LISTS, "MaxAgeSeconds", "ID"}:
        raise MalformedXML
    parsed: dict[str, Any] = {name: _parse_values(rule[name]) for name in _LISTS if name in rule}
    if not parsed.get("AllowedMethod") or not parsed.get("AllowedOrigin"):
        raise MalformedXML
    for method in parsed["AllowedMethod"]:
        if method not in _METHODS:
            message = f"Found unsupported HTTP method in CORS config. Unsupported method is {method[:40]}"
            raise S3Error("InvalidRequest", message)
    for name in ("AllowedOrigin", "AllowedHeader"):
        for value in parsed.get(name, ()):
            if value.count("*") > 1:
                raise S3Error("InvalidRequest", f'{name} "{value[:80]}" can not have more than one wildcard.')
    if (age := rule.get("MaxAgeSeconds")) is not None:
        if not (isinstance(age, str) and age.isascii() and age.isdecimal() and len(age) < 10):
            raise MalformedXML
        parsed["MaxAgeSeconds"] = int(age)
    if isinstance(rule.get("ID"), str):
        parsed["ID"] = rule["ID"][:255]
    return parsed


def _parse_values(values: Sequence[Any]) -> list[str]:
    """Values that can stand in a header."""
    if len(values) > _MOST_VALUES:
        raise MalformedXML
    for value in values:
        if not isinstance(value, str) or not (value.isascii() and value.isprintable()) or len(value) > _LONGEST:
            raise MalformedXML
    return list(values)


def describe(rules: Iterable[Rule]) -> dict[str, Any]:
    """Return rules in botocore's names."""
    return {"CORSRules": [{_BOTOCORE.get(name, name): value for name, value in rule.items()} for rule in rules]}


_BOTOCORE = {name: f"{name}s" for name in _LISTS}


@dataclass(frozen=True, slots=True)
class Asked:
    """What a browser says of a request: where its page is from, what it wants to send. `preflight`: it only asks."""

    origin: str
    method: str
    headers: Sequence[str]
    preflight: bool


def parse_preflight(header: Header) -> Asked:
    """Return what a preflight asks. Raises S3Error BadRequest."""
    origin, method = header("origin"), header("access-control-request-method")
    if origin is None:
        raise S3Error("BadRequest", "Insufficient information. Origin request header needed.", 400)
    if method not in _METHODS:
        raise S3Error("BadRequest", f"Invalid Access-Control-Request-Method: {(method or 'null')[:40]}", 400)
    wanted = (header("access-control-request-headers") or "").split(",")
    return Asked(origin, method, [name.strip().lower() for name in wanted if name.strip()], preflight=True)


def parse_actual(method: str, header: Header) -> Asked | None:
    """Return what a request that is no preflight says of itself; None if no page sent it."""
    origin = header("origin")
    return None if origin is None else Asked(origin, header("access-control-request-method") or method, (), preflight=False)


def answer(rules: Iterable[Rule], asked: Asked) -> dict[str, str]:
    """Return the headers that let a page have it, those of the first rule that does; none if no rule does."""
    rule = next((rule for rule in rules if _allows(rule, asked)), None)
    if rule is None:
        return {}
    allowed = "*" if "*" in rule["AllowedOrigin"] else asked.origin
    headers = {"Access-Control-Allow-Origin": allowed, "Access-Control-Allow-Methods": ", ".join(rule["AllowedMethod"])}
    if asked.headers:
        headers["Access-Control-Allow-Headers"] = ", ".join(asked.headers)
    if rule.get("ExposeHeader"):
        headers["Access-Control-Expose-Headers"] = ", ".join(rule["ExposeHeader"])
    if asked.preflight and "MaxAgeSeconds" in rule:
        headers["Access-Control-Max-Age"] = str(rule["MaxAgeSeconds"])
    if allowed != "*":
        headers["Access-Control-Allow-Credentials"] = "true"
    headers["Vary"] = "Origin, Access-Control-Request-Headers, Access-Control-Request-Method"
    return headers


def _allows(rule: Rule, asked: Asked) -> bool:
    if asked.method not in rule["AllowedMethod"] or not _matches_any(rule["AllowedOrigin"], asked.origin):
        return False
    patterns = [pattern.lower() for pattern in rule.get("AllowedHeader", ())]
    return all(_matches_any(patterns, name) for name in asked.headers)


def _matches_any(patterns: Iterable[str], text: str) -> bool:
    return any(_compile(pattern).fullmatch(text) for pattern in patterns)


@lru_cache(maxsize=1024)
def _compile(pattern: str) -> Pattern[str]:
    """Only the star means something, and there is at most one."""
    return compile_pattern(translate(pattern.replace("[", "[[]").replace("?", "[?]")))
