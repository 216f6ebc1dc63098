"""`debug datum`: a datum once more, as it was, on this terminal."""

import json
import os
import pty
import subprocess
import sys
import time

import pytest
from cli.helpers import Serving, Shell, job_of

from appliance.pipelines.process import probe_namespaces

pytestmark = pytest.mark.skipif(probe_namespaces() is not None, reason="user code can not have a /pfs here")


class Datum:
    """The one datum of a pipeline's newest job, and how to look at it."""

    def __init__(self, sh: Shell, appliance: Serving, pipeline: str) -> None:
        self._sh, self.data = sh, appliance.data
        self.job = job_of(sh, pipeline)
        (found,) = sh("list", "datum", f"{pipeline}@{self.job}", "--raw").objects
        self.id = found["id"]
        self.names = (f"{pipeline}@{self.job}", self.id)

    def debug(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "appliance", "debug", "datum", *self.names, *arguments]
        environment = {**os.environ, "APPLIANCE_HOME": str(self.data), "SHELL": "/bin/sh"}
        return subprocess.run(command, env=environment, input=stdin, capture_output=True, text=True, check=False, timeout=50)

    def sh(self, script: str) -> list[str]:
        done = self.debug("--", "sh", "-ec", script)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()


def make(sh: Shell, appliance: Serving, repo: str, script: str, **fields: object) -> Datum:
    sh("put", "file", f"{repo}@master:/dir/a", "-f", "-", stdin=b"content\n")
    transform = {"cmd": ["sh", "-ec", script], "env": {"MINE": "1"}, "working_dir": "/pfs"}
    spec = {"pipeline": {"name": f"p-{repo}"}, "transform": transform, "datum_tries": 1}
    spec |= {"input": {"pfs": {"repo": repo, "name": "in", "glob": "/dir/*"}}, **fields}
    sh("create", "pipeline", "-f", "-", stdin=json.dumps(spec).encode())
    sh.try_("wait", "job", f"p-{repo}@{job_of(sh, f'p-{repo}')}")
    return Datum(sh, appliance, f"p-{repo}")


def test_it_sees_what_the_datum_saw(sh: Shell, appliance: Serving, repo: str) -> None:
    look = "env | sort | grep -v ^_=; pwd; find /pfs; cat $in; ! echo > $in"
    datum = make(sh, appliance, repo, f"({look}) 2> /dev/null")
    seen = datum.sh(f"({look}) 2> /dev/null")
    assert seen == sh("logs", "-j", datum.names[0]).out.splitlines()
    assert {"MINE=1", "in=/pfs/in/dir/a", f"PACH_DATUM_ID={datum.id}", "/pfs", "/pfs/out", "content"} <= set(seen)


def test_failed_datum_can_be_looked_at_any_number_of_times(sh: Shell, appliance: Serving, repo: str) -> None:
    datum = make(sh, appliance, repo, "exit 7")
    for _ in range(2):
        assert datum.sh("ls -A /pfs/out; echo 1 > /pfs/out/a; cat /pfs/out/a") == ["1"]
    assert datum.debug("--", "sh", "-c", "exit 5").returncode == 5
    assert datum.debug("--", "sh", "-c", "kill -TERM $$").returncode == 143
    assert sh("inspect", "datum", *datum.names, "--raw").objects[0]["tries"] == 1
    assert sh("list", "file", f"p-{repo}@master").rows == []


def test_nothing_of_it_stays(sh: Shell, appliance: Serving, repo: str) -> None:
    datum = make(sh, appliance, repo, "true")
    datum.sh("echo 1 > /pfs/out/a")
    assert sh("list", "datum", datum.names[0]).rows[0][0] == datum.id
    deadline = time.monotonic() + 20
    while (left := list((appliance.data / "scratch").iterdir())) and time.monotonic() < deadline:
        sh("inspect", "appliance")
    assert left == []


def test_difference_of_the_same_is_empty(sh: Shell, appliance: Serving, repo: str) -> None:
    datum = make(sh, appliance, repo, "cp $in /pfs/out")
    done = datum.debug("--diff")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_difference_shows_what_is_new_changed_and_gone(sh: Shell, appliance: Serving, repo: str) -> None:
    datum = make(sh, appliance, repo, "cd out; cp $in same; cp $in changed; cp $in gone")
    script = "cd /pfs/out; cp $in same; echo other > changed; echo 1 > new"
    listed = datum.debug("--diff", "--name-only", "--", "sh", "-ec", script).stdout
    assert [line.split()[:2] for line in listed.splitlines()[1:]] == [["*", "/changed"], ["-", "/gone"], ["+", "/new"]]
    shown = datum.debug("--diff", "--diff-command", "diff -u", "--", "sh", "-ec", script).stdout
    assert {"-content", "+other", "+1", "--- recorded/changed"} <= {line.split("\t")[0] for line in shown.splitlines()}
    assert sh("list", "file", f"p-{repo}@master").rows[0][0] == "/changed"  # what is recorded stays


def test_command_of_the_pipeline_gets_its_standard_input(sh: Shell, appliance: Serving, repo: str) -> None:
    transform = {"cmd": ["sh"], "stdin": ["cp $in /pfs/out/a", "echo done"]}
    datum = make(sh, appliance, repo, "", transform=transform)
    done = datum.debug("--diff", stdin="exit 3")
    assert (done.returncode, done.stdout) == (0, "done\n")


def test_s3_is_there_and_what_is_put_goes_nowhere(sh: Shell, appliance: Serving, repo: str) -> None:
    put = (
        "import os, urllib.request as u; r = u.Request(os.environ['S3_ENDPOINT'] + '/out/a', data=os.environ['V'].encode(),"
        " method='PUT'); u.urlopen(r)"
    )
    command = {"cmd": [sys.executable, "-I", "-c", put], "env": {"V": "old"}}
    datum = make(sh, appliance, repo, "", transform=command, s3_out=True)
    done = datum.debug("--diff", "--name-only", "--", "env", "V=newer", sys.executable, "-I", "-c", put)
    assert [line.split() for line in done.stdout.splitlines()[1:]] == [["*", "/a", "5B"]]
    assert sh("get", "file", f"p-{repo}@master:/a").out == "old"


def test_shell_reads_standard_input(sh: Shell, appliance: Serving, repo: str) -> None:
    datum = make(sh, appliance, repo, "true")
    done = datum.debug(stdin="cat $in; exit 3\n")
    assert (done.returncode, done.stdout, done.stderr) == (3, "content\n", "")


def test_shell_has_the_terminal(sh: Shell, appliance: Serving, repo: str) -> None:
    datum = make(sh, appliance, repo, "true")
    ours, theirs = pty.openpty()
    # Of a terminal that is its own, a shell also wants the foreground, and gives it back when it ends.
    command = ["setsid", "--ctty", "--wait", sys.executable, "-m", "appliance", "debug", "datum", *datum.names, "--shell"]
    environment = {**os.environ, "APPLIANCE_HOME": str(datum.data), "SHELL": "/bin/sh", "TERM": "dumb"}
    with subprocess.Popen(command, env=environment, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        os.write(ours, b"tty; echo TERM is $TERM; exit 4\n")
        said = b""
        try:
            while piece := os.read(ours, 4096):
                said += piece
        except OSError:  # the other side is closed
            pass
        assert process.wait(timeout=30) == 4
    os.close(ours)
    assert b"/dev/pts/" in said
    assert b"TERM is dumb" in said
    assert f"The command of p-{repo} is: sh -ec true".encode() in said


def test_unknown_datum_is_named(sh: Shell, appliance: Serving, repo: str) -> None:
    datum = make(sh, appliance, repo, "true")
    status, message = sh.refused("debug", "datum", datum.names[0], "00")
    assert (status, message) == (1, f"datum 00 not found in job {datum.names[0]}")


def test_shell_and_command_exclude_each_other(sh: Shell) -> None:
    assert sh.try_("debug", "datum", "p@x", "00", "--shell", "--", "ls").status == 2


def test_command_that_asks_for_datums_is_not_run_alone(sh: Shell, appliance: Serving, repo: str) -> None:
    transform = {"cmd": ["sh", "-ec", "pachctl next datum; . /pfs/.env; cp $in /pfs/out"], "datum_batching": True}
    datum = make(sh, appliance, repo, "", transform=transform)
    done = datum.debug("--diff")
    text = f"the command of pipeline p-{repo} asks for datums: give another one behind --\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", text)
    assert datum.sh("cat $in; ls /pfs/out") == ["content"]
    assert sh("get", "file", f"p-{repo}@master:/a").out == "content\n"
