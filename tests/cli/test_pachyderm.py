"""What Pachyderm's own tests of its command line check of repos, branches, commits and files, with the real program.

The subjects are those of `src/server/pfs/cmds/cmds_test.go`; projects are not, there are none here. Each script runs in a
shell that stops at the first failure; `match` is a regular expression over what comes in.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cli.helpers import Serving

_MATCH = """
set -eu
match() { text=$(cat); printf '%s' "$text" | grep -Ezq -- "$1" || { echo "no match for $1 in: $text" >&2; return 1; }; }
refused() { ! "$@" >/dev/null 2>refused.txt && grep -Eq -- "${expected:-.}" refused.txt; }
"""


@pytest.fixture
def script(appliance: Serving, here: Path, tmp_path: Path) -> "Script":
    """Runs a shell script in an empty directory against a running appliance."""
    programs = tmp_path / "bin"
    programs.mkdir()
    program = programs / "pachctl"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -c "from appliance.cli import main; main()" "$@"\n')
    program.chmod(0o755)
    environment = {**os.environ, "APPLIANCE_HOME": str(appliance.data), "PATH": f"{programs}:{os.environ['PATH']}"}
    return Script(environment)


class Script:
    """A shell with `pachctl`, `match PATTERN`, and `expected=TEXT refused COMMAND`."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment

    def __call__(self, text: str, **values: str) -> None:
        """Run a script, in which `{name}` stands for a value; it must succeed."""
        for name, value in values.items():
            text = text.replace(f"{{{name}}}", value)
        done = subprocess.run(
            ["bash", "-c", _MATCH + text], env=self._environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_commit(script: Script, repo: str) -> None:
    script(
        """
        id=$(pachctl start commit {repo}@master)
        pachctl list commit {repo}@master | match 'REPO +BRANCH +COMMIT +FINISHED +SIZE +ORIGIN +DESCRIPTION'
        pachctl list commit {repo}@master | match "{repo} +master +$id +- "
        echo foo | pachctl put file {repo}@master:foo
        pachctl finish commit {repo}@master
        pachctl wait commit {repo}@master | match "Commit: {repo}@$id"
        pachctl list commit {repo}@master | match "$id .* ago +4B +USER"
        pachctl inspect commit "{repo}@$id" --raw | match '"finished": "20'
        pachctl list commit "$id" | match "{repo} +master +$id"
        pachctl inspect commit "$id" | match "{repo} +master +$id"
        """,
        repo=repo,
    )


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("{repo}@master --full-path -f d/f", "/d/f"),
        ("{repo}@master:base --full-path -f d/f", "/base"),
        ("{repo}@master:base/ --full-path -f d/f", "/base/d/f"),
        ("{repo}@master:base --full-path -f d/f -f d/g", "/base/d/f /base/d/g"),
        ("{repo}@master:base/ --full-path -f d/f -f d/g", "/base/d/f /base/d/g"),
        ("{repo}@master:base/ -f d/f", "/base/f"),
        ("{repo}@master:base -f d/f", "/base"),
        ("{repo}@master:base -f d/f -f d/g", "/base/f /base/g"),
        ("{repo}@master:/ -r --full-path -f d", "/d/f /d/g"),
        ("{repo}@master:/ -r -f d", "/f /g"),
        ("{repo}@master -r -f d", "/d/f /d/g"),
        ("{repo}@master:/base -r -f d", "/base/f /base/g"),
    ],
)
def test_targets_of_put_file(script: Script, repo: str, options: str, expected: str) -> None:
    script(
        """
        mkdir d; echo f > d/f; echo g > d/g
        pachctl put file {options}
        found=$(pachctl glob file '{repo}@master:**' | awk '$2 == "file" { print $1 }' | paste -sd ' ')
        test "$found" = "{expected}"
        """,
        options=options,
        expected=expected,
        repo=repo,
    )


@pytest.mark.parametrize("suffix", ["tar", "tar.gz", "tgz"])
def test_put_file_untar(script: Script, repo: str, suffix: str) -> None:
    script(
        """
        mkdir d; echo a > d/a; echo b > d/b
        tar --auto-compress -cf x.{suffix} d
        pachctl put file {repo}@master --untar -f x.{suffix}
        pachctl get file {repo}@master:/d/b | match '^b$'
        tar --auto-compress -cf y.{suffix} -C d .
        pachctl put file {repo}@master:/e --untar -f y.{suffix}
        pachctl list file {repo}@master:/e | match '/e/a.*/e/b'
        """,
        repo=repo,
        suffix=suffix,
    )


def test_put_file_into_a_repo_that_is_not_there(script: Script) -> None:
    script("echo x > x; expected='^repo nonexistent not found$' refused pachctl put file nonexistent@master -f x")


def test_diff_file(script: Script, repo: str) -> None:
    script(
        """
        echo foo | pachctl put file {repo}@master:data
        echo bar | pachctl put file {repo}@master:data
        pachctl diff file {repo}@master:data {repo}@master^:data | match '-foo.*\\+bar'
        pachctl diff file {repo}@master:data | match '-foo.*\\+bar'
        pachctl diff file {repo}@master --name-only | match 'OP +NAME +TYPE +SIZE.*- +/data.*\\+ +/data'
        """,
        repo=repo,
    )


def test_get_file_errors(script: Script, repo: str) -> None:
    script(
        """
        echo foo | pachctl put file {repo}@master:/dir/foo
        expected='file /none not found' refused pachctl get file {repo}@master:/none
        expected="couldn.t download /dir: cannot get directory .*Try again with the -r flag" \\
            refused pachctl get file {repo}@master:/dir
        expected='an output path needs to be specified when using the --recursive flag' \\
            refused pachctl get file {repo}@master:/dir -r
        expected='repo none not found' refused pachctl get file none@master:/foo
        pachctl get file {repo}@master:/dir -r -o out
        cat out/foo | match foo
        """,
        repo=repo,
    )


def test_copy_file(script: Script, repo: str) -> None:
    script(
        """
        pachctl create repo {repo}-2
        echo foo | pachctl put file {repo}@master:foo
        pachctl copy file {repo}@master:foo {repo}-2@master:bar
        pachctl get file {repo}-2@master:bar | match '^foo$'
        pachctl copy file {repo}@master:foo {repo}-2@master:bar -a
        pachctl get file {repo}-2@master:bar | match '^foo.foo$'
        """,
        repo=repo,
    )


def test_synonyms(script: Script, repo: str) -> None:
    script(
        """
        echo x | pachctl put files {repo}@master:/x
        for noun in repos "branches {repo}" commits "files {repo}@master" pipelines jobs transactions; do
            pachctl list $noun >/dev/null
        done
        pachctl inspect repos {repo} | match 'Name: {repo}'
        pachctl inspect branches {repo}@master | match 'Name: {repo}@master'
        pachctl inspect files {repo}@master:/x | match 'Path: /x'
        pachctl get files {repo}@master:/x | match x
        pachctl delete files {repo}@master:/x
        pachctl delete branches {repo}@master
        pachctl delete repos {repo}
        """,
        repo=repo,
    )


def test_repos_are_listed_and_deleted(script: Script, repo: str) -> None:
    script(
        """
        pachctl create repo {repo}-x -d 'some words'
        expected='repo {repo}-x already exists' refused pachctl create repo {repo}-x
        pachctl list repo | match 'NAME +CREATED +SIZE \\(MASTER\\) +DESCRIPTION.*{repo}-x .*some words'
        pachctl update repo {repo}-x -d 'other words'
        pachctl list repo {repo}-x | match 'other words'
        pachctl delete repo {repo}-x
        expected='repo {repo}-x not found' refused pachctl delete repo {repo}-x
        expected='repo {repo}-x not found' refused pachctl list branch {repo}-x
        """,
        repo=repo,
    )


def test_branches(script: Script, repo: str) -> None:
    script(
        """
        expected='branch "none" not found in repo {repo}' refused pachctl inspect branch {repo}@none
        expected='branch "none" not found in repo {repo}' refused pachctl list file {repo}@none
        echo x | pachctl put file {repo}@master:/x
        pachctl create branch {repo}@other --head master
        pachctl list branch {repo} | match 'BRANCH +HEAD +TRIGGER.*master.*other'
        pachctl get file {repo}@other:/x | match x
        pachctl create repo {repo}-down
        pachctl create branch {repo}-down@master -p {repo}@other
        expected='in the provenance' refused pachctl delete branch {repo}@other
        pachctl delete branch {repo}@other -f
        pachctl list branch {repo} | match 'master'
        expected='branch "other" not found' refused pachctl inspect branch {repo}@other
        """,
        repo=repo,
    )


def test_all_repos_are_deleted_after_an_answer(script: Script) -> None:
    script(
        """
        pachctl create repo one; pachctl create repo two
        echo n | pachctl delete repo --all
        pachctl list repo | match 'two.*one'
        echo y | pachctl delete repo --all --force
        test "$(pachctl list repo | wc -l)" = 1
        """
    )
