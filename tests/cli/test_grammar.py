"""Every verb and noun, and what wrong usage answers. No appliance is needed."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from appliance.cli import run
from appliance.cli.references import parse_branch, parse_commit, parse_file, parse_job, parse_revision_of
from appliance.cli.verbs import plural, root
from appliance.errors import InvalidName, InvalidRequest

ID = "0123456789ab4cde8f0123456789abcd"


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing runs where these commands look."""
    monkeypatch.setenv("APPLIANCE_HOME", str(tmp_path / "nowhere"))


def iter_commands(group: click.Group, *above: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield the words and the command of everything below a group."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield (*above, name), command
        if isinstance(command, click.Group):
            yield from iter_commands(command, *above, name)


COMMANDS = [(words, command) for words, command in iter_commands(root) if not isinstance(command, click.Group)]
STYLED = [(words, command) for words, command in COMMANDS if {"raw", "output"} <= {item.name for item in command.params}]
each_command = pytest.mark.parametrize(("words", "command"), COMMANDS, ids=[" ".join(words) for words, _ in COMMANDS])


def test_every_command_is_there() -> None:
    assert {" ".join(words) for words, _ in COMMANDS} == {
        *("create repo", "update repo", "inspect repo", "list repo", "delete repo"),
        *("create branch", "inspect branch", "list branch", "delete branch"),
        *("start commit", "finish commit", "inspect commit", "list commit", "wait commit"),
        *("squash commit", "delete commit", "clear commit", "find commit", "subscribe commit"),
        *("put file", "get file", "inspect file", "list file", "delete file"),
        *("glob file", "copy file", "diff file", "create directory"),
        *("create pipeline", "update pipeline", "inspect pipeline", "list pipeline", "delete pipeline"),
        *("start pipeline", "stop pipeline", "run cron"),
        *("inspect job", "list job", "stop job", "wait job", "inspect datum", "list datum"),
        "debug datum",
        *("edit pipeline", "draw pipeline", "run pipeline", "rerun pipeline"),
        *("delete job", "restart datum", "next datum", "flush job", "flush commit"),
        *("validate pipeline", "extract pipeline"),
        *(f"{verb} {noun}" for verb in ("create", "update", "inspect", "list", "delete") for noun in ("project", "defaults")),
        *("deploy storage amazon", "deploy storage google", "deploy storage microsoft"),
        *("deploy storage list", "deploy storage delete"),
        *("create secret", "inspect secret", "list secret", "delete secret"),
        *("start transaction", "stop transaction", "resume transaction", "finish transaction"),
        *("inspect transaction", "list transaction", "delete transaction"),
        "delete all",
        *("fsck", "garbage-collect", "export", "import"),
        *("mount", "unmount", "status", "commit", "discard"),
        *("auth activate", "auth deactivate", "auth rotate-root-token", "auth roles-for-permission"),
        *("auth whoami", "auth login", "auth logout", "auth use-auth-token"),
        *("auth get-auth-token", "auth get-robot-token", "auth revoke"),
        *("auth check repo", "auth check cluster", "auth get repo", "auth get cluster", "auth set repo", "auth set cluster"),
        *("serve", "next datum", "logs", "env", "doctor", "version", "inspect appliance", "wait appliance"),
    }


@each_command
def test_command_has_help(words: tuple[str, ...], command: click.Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.help
    for option in ("-h", "--help"):
        assert run([*words, option]) == 0
        assert command.help.split("\n")[0].split()[0] in capsys.readouterr().out


@pytest.mark.parametrize("words", [words for words, _ in COMMANDS if len(words) == 2 and words[0] != "auth"], ids=" ".join)
def test_noun_has_a_plural(words: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    verb, noun = words
    assert run([verb, plural(noun), "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"Usage: appliance {verb} {plural(noun)} ")


def test_plural_of_branch() -> None:
    assert (plural("branch"), plural("repo")) == ("branches", "repos")


@pytest.mark.parametrize(("words", "command"), STYLED, ids=[" ".join(words) for words, _ in STYLED])
def test_output_needs_raw(words: tuple[str, ...], command: click.Command, capsys: pytest.CaptureFixture[str]) -> None:
    needed = ["x" for parameter in command.params if isinstance(parameter, click.Argument) and parameter.required]
    assert run([*words, *needed, "-o", "json"]) == 2
    assert "cannot set --output (-o) without --raw" in capsys.readouterr().err


def test_every_list_and_inspection_can_be_raw() -> None:
    showing = {"list", "inspect", "wait", "flush", "find", "subscribe", "glob", "diff"}
    shown = {words for words, command in COMMANDS if showing & {*words} and not command.hidden}
    assert {words for words, _ in STYLED} == shown - {("wait", "appliance")} | {("status",), ("doctor",)}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("fly repo", "No such command 'fly'"),
        ("list elephants", "No such command 'elephants'"),
        ("list serve", "No such command 'serve'"),
        ("create repo", "expected 1 arguments, got 0"),
        ("create repo a b -d words", "expected 1 arguments, got 2"),
        ("list repo a b", "expected 0 to 1 arguments, got 2"),
        ("copy file a", "expected 2 arguments, got 1"),
        ("diff file", "expected 1 to 2 arguments, got 0"),
        ("start transaction now", "expected 0 arguments, got 1"),
        ("version now", "expected 0 arguments, got 1"),
        ("list repo --colour", "No such option"),
        ("list repo --raw -o xml", "'xml' is not one of"),
        ("list commit data -n -1", "-1 is not in the range"),
        ("validate pipeline", "Missing option '-f'"),
        ("delete repo", "either a repo name or the --all flag needs to be provided"),
        ("delete repo data --all", "cannot use the --all flag with an argument"),
        ("delete pipeline p --all", "cannot use the --all flag with an argument"),
        ("logs -p edges -j edges@1", "only one of pipeline or job should be specified"),
        ("serve --mount /x --no-mount", "--mount and --no-mount exclude each other"),
        ("serve --durability none", "'none' is not one of"),
    ],
)
def test_wrong_usage(line: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(line.split()) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.out == ""


@pytest.mark.parametrize(
    "flag",
    [
        *("--retries", "--timeout", "--upload-acl", "--reverse", "--part-size", "--max-upload-parts"),
        *("--disable-ssl", "--no-verify-ssl", "--obj-log-options"),
    ],
)
def test_tuning_flag_of_pachyderm_1_is_refused(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["deploy", "storage", "amazon", "us-east-1", "id", "secret", flag, "1"]) == 2
    assert "No such option" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("serve --tls-cert cert.pem --no-mount", "--tls-cert and --tls-key belong together"),
        ("serve --s3-address here", "invalid address here: expected HOST:PORT"),
        ("create branch data", 'invalid format "data": expected repo@branch'),
        ("get file data@master", 'invalid format "data@master": expected repo@branch-or-commit:path'),
        ("inspect job edges", 'invalid format "edges": expected pipeline@job-id'),
        ("put file data@master", "must specify filename when reading data from stdin"),
        ("put file data@master:/d/", "must specify filename when reading data from stdin"),
        ("put file data@master:/x -r", "cannot set -r and read from stdin (must also set -f or -i)"),
        ("put file data@master:/x -f - -f -", "cannot put stdin together with other sources"),
        ("get file data@master:/ -r", "an output path needs to be specified when using the --recursive flag"),
    ],
)
def test_arguments_that_make_no_sense(line: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(line.split()) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith(message)
    assert (shown.out, shown.err.count("\n")) == ("", 1)


def test_both_names_are_the_same_program(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/pachctl"])
    run(["list", "repo", "--help"])
    assert capsys.readouterr().out.startswith("Usage: pachctl list repo ")


@pytest.mark.parametrize(
    ("parse", "text", "parsed"),
    [
        (parse_branch, "data@master", ("data", "master")),
        (parse_commit, "data", ("data", "master")),
        (parse_commit, "data@master^2", ("data", "master^2")),
        (parse_commit, f"data@master={ID}", ("data", ID)),
        (parse_file, "data@master:/a//b/", ("data", "master", "/a/b/")),
        (parse_file, "data:a:b", ("data", "master", "/a:b")),
        (parse_job, f"edges@{ID}", ("edges", ID)),
    ],
)
def test_reference(parse: Callable[[str], object], text: str, parsed: object) -> None:
    assert parse(text) == parsed


@pytest.mark.parametrize(
    ("parse", "text", "message"),
    [
        (parse_branch, "@master", "repo cannot be empty"),
        (parse_branch, "data@master:/a", "cannot specify a file path"),
        (parse_branch, "data@master^", "cannot specify a commit or ancestry"),
        (parse_branch, f"data@master={ID}", "cannot specify a commit or ancestry"),
        (parse_branch, f"data@{ID}", "cannot specify a commit or ancestry"),
        (parse_commit, "data@master:/a", "cannot specify a file path"),
        (parse_commit, "@master", "repo cannot be empty"),
        (parse_commit, "da ta@master", "repo name (da ta) invalid"),
        (parse_job, f"@{ID}", "pipeline must be specified"),
        (parse_job, "edges@", "expected pipeline@job-id"),
    ],
)
def test_reference_that_is_none(parse: Callable[[str], object], text: str, message: str) -> None:
    with pytest.raises((InvalidRequest, InvalidName)) as raised:
        parse(text)
    assert message in str(raised.value)


def test_revision_may_name_its_repo() -> None:
    assert parse_revision_of("data", "patch") == "patch"
    assert parse_revision_of("data", f"data@{ID}") == ID
    with pytest.raises(InvalidRequest, match="not in repo data"):
        parse_revision_of("data", "other@master")


def test_commands_import_nothing_slow() -> None:
    slow = ("trio", "moto", "msgspec", "sqlite3", "sqlite_utils", "rich", "yaml", "obstore", "asyncio")
    program = f"import sys; from appliance.cli import run; run(['list', 'repo']); print(*{{*{slow}}} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
    assert done.stderr.startswith("no appliance is running on ")
