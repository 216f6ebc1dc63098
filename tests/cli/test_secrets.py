"""Secrets from the command line: what is in them never comes out again."""

import json
from pathlib import Path

import pytest
from cli.helpers import Serving, Shell

VALUE = "a-value-that-is-never-shown"
BASE64 = "YS12YWx1ZS10aGF0LWlzLW5ldmVyLXNob3du"
JSON = json.dumps(
    {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "from-json"}, "type": "Opaque", "data": {"password": BASE64}}
)
YAML = f"apiVersion: v1\nkind: Secret\nmetadata:\n  name: from-yaml\nstringData:\n  password: {VALUE}\n"


def kept(appliance: Serving) -> dict[str, dict[str, str]]:
    file = appliance.data / "secrets.json"
    assert file.stat().st_mode & 0o777 == 0o600
    return {secret["name"]: secret["data"] for secret in json.loads(file.read_text())["secrets"]}


@pytest.mark.parametrize(("name", "text"), [("from-json", JSON), ("from-yaml", YAML)])
def test_kubernetes_secret_is_kept(sh: Shell, appliance: Serving, name: str, text: str) -> None:
    sh("create", "secret", "-f", "-", stdin=text.encode())
    assert kept(appliance)[name] == {"password": VALUE}
    assert sh("list", "secret").rows[-1][:2] == [name, "Opaque"]


def test_values_come_from_words_stdin_and_files(sh: Shell, appliance: Serving, tmp_path: Path) -> None:
    (tmp_path / "value").write_text(f"{VALUE}\n")
    sh("create", "secret", "three", f"one={VALUE}", "two=-", f"three=@{tmp_path / 'value'}", stdin=f"{VALUE}\n".encode())
    assert kept(appliance)["three"] == dict.fromkeys(["one", "two", "three"], VALUE)


def test_no_command_shows_a_value(sh: Shell, appliance: Serving, tmp_path: Path) -> None:
    sh("create", "secret", "hidden", f"password={VALUE}")
    shown = [sh("list", "secret"), sh("list", "secret", "--raw"), sh("inspect", "secret", "hidden")]
    assert all(VALUE not in ran.out and BASE64 not in ran.out for ran in shown)
    assert sh("inspect", "secret", "hidden", "--raw").objects[0]["keys"] == ["password"]
    sh("export", "-o", tmp_path / "export")
    assert VALUE.encode() not in (tmp_path / "export").read_bytes()
    assert VALUE not in (appliance.data.parent / "stderr").read_text()


def test_later_secret_replaces_the_one_of_its_name_until_it_is_deleted(sh: Shell, appliance: Serving) -> None:
    sh("create", "secret", "twice", "a=1")
    sh("create", "secret", "twice", "b=2")
    assert kept(appliance)["twice"] == {"b": "2"}
    sh("delete", "secret", "twice")
    assert "twice" not in kept(appliance)
    assert sh.refused("inspect", "secret", "twice") == (1, "secret twice not found")


@pytest.mark.parametrize(
    ("words", "stdin", "message"),
    [
        (["Capital", "a=1"], "", "secret name (Capital) invalid"),
        (["name", "a/b=1"], "", "secret name: malformed key"),
        (["name", "no-value"], "", "a value is given as key=value"),
        (["name"], "", "create secret takes either -f FILE, or a name and key=value"),
        (["-f", "-"], JSON.replace(BASE64, VALUE), "the value of 'password' in `data` is not base64 of text"),
        (["-f", "-"], "kind: Pod\nmetadata: {name: x}", "not 'Pod'"),
        (["-f", "-"], f"{{{VALUE}", "this is neither"),
        (["-f", "-"], VALUE, "a Kubernetes Secret: Expected `object`"),
    ],
)
def test_what_is_no_secret_is_refused_without_showing_it(sh: Shell, words: list[str], stdin: str, message: str) -> None:
    status, said = sh.refused("create", "secret", *words, stdin=stdin.encode())
    assert (status, message in said, VALUE in said) == (2, True, False), said
