"""User code as real processes: what it sees, what it leaves, how it ends."""

import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from pipelines.helpers import kill_launcher
from somebody import PROJECT, run_tests_as_somebody

from appliance.pipelines import process
from appliance.pipelines.link import ProcessLost, ProcessNotStarted
from appliance.pipelines.process import Bind, Exit, Launcher, ProcessSpec, open_launcher

FORBIDDEN = process.probe_namespaces()
ENV = {"PATH": "/usr/local/bin:/usr/bin:/bin"}
# Outlives a hang-up and a polite end, and holds whatever is open.
STUBBORN = "trap '' TERM HUP; sleep 1000"

pytestmark = pytest.mark.skipif(FORBIDDEN is not None, reason=str(FORBIDDEN))


class Lines:
    """The output of a run; `first` is set when there is any."""

    def __init__(self) -> None:
        self.all: list[tuple[str, bytes, int]] = []
        self.first = trio.Event()

    def add(self, stream: str, line: bytes, time_ns: int) -> None:
        self.all.append((stream, line, time_ns))
        self.first.set()

    def of(self, stream: str) -> list[bytes]:
        return [line for name, line, _ in self.all if name == stream]


def sh(script: str, **fields: Any) -> ProcessSpec:
    return ProcessSpec(("sh", "-c", script), **{"env": ENV, **fields})


def run(spec: ProcessSpec, timeout_s: float | None = None) -> tuple[Exit, Lines]:
    """One run with a launcher of its own."""
    lines = Lines()

    async def main() -> Exit:
        with trio.fail_after(30):
            async with open_launcher() as launcher:
                return await launcher.run(spec, on_line=lines.add, timeout_s=timeout_s)

    return trio.run(main), lines


def output(spec: ProcessSpec) -> list[bytes]:
    """The lines of a run that must succeed without a word of complaint."""
    ended, lines = run(spec)
    assert (ended, lines.of("stderr")) == (Exit(0, None, timed_out=False), [])
    return lines.of("stdout")


def refusal(spec: ProcessSpec) -> str:
    with pytest.RaisesGroup(ProcessNotStarted) as caught:
        run(spec)
    return str(caught.value.exceptions[0])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A directory with `in/a` and an empty `out`."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_text("content\n")
    (tmp_path / "out").mkdir()
    return tmp_path


@pytest.fixture
def alive(tmp_path: Path) -> Iterator[Callable[[], bytes]]:
    """A function that waits until nobody holds the FIFO `held` open for writing, and gives what was written."""
    fifo = tmp_path / "held"
    os.mkfifo(fifo)
    # Ours is opened first, so that writers never wait for a reader.
    fd = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(fd, True)
    with os.fdopen(fd, "rb") as file:
        yield file.read


def binds(data: Path) -> tuple[Bind, ...]:
    return Bind(data / "in", "/pfs/images"), Bind(data / "out", "/pfs/out", writable=True)


def test_inputs_are_at_their_true_path(data: Path) -> None:
    assert output(sh("ls -A /pfs; cat /pfs/images/a", binds=binds(data))) == [b"images", b"out", b"content"]


def test_one_file_can_be_an_input(data: Path) -> None:
    bind = Bind(data / "in" / "a", "/pfs/images/deep/down/b")
    assert output(sh("cd /pfs; find *; cat images/deep/down/b", binds=(bind,))) == [
        b"images",
        b"images/deep",
        b"images/deep/down",
        b"images/deep/down/b",
        b"content",
    ]


@pytest.mark.parametrize("path", ["/pfs/images/a", "/pfs/images/new", "/pfs/new"])
def test_inputs_and_pfs_itself_are_read_only(data: Path, path: str) -> None:
    ended, lines = run(sh(f"echo > {path}", binds=binds(data)))
    assert ended.status != 0
    assert b"Read-only file system" in lines.of("stderr")[0]


def test_out_lands_in_the_bound_directory(data: Path) -> None:
    output(sh("mkdir /pfs/out/d; cp /pfs/images/a /pfs/out/d/b", binds=binds(data)))
    assert (data / "out" / "d" / "b").read_text() == "content\n"


def root_names() -> set[str]:
    return {path.name for path in Path("/").iterdir()}


def mounts_of(data: Path) -> list[str]:
    """The mounts that a run with this data makes, as far as they are seen from here."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line for line in lines if " /pfs" in line or str(data) in line]


def test_nothing_of_it_is_visible_outside(data: Path) -> None:
    before = mounts_of(data), root_names()

    async def main() -> None:
        lines = Lines()
        async with open_launcher() as launcher, trio.open_nursery() as nursery:
            spec = sh("echo up; exec sleep 1000", binds=binds(data))
            nursery.start_soon(lambda: launcher.run(spec, on_line=lines.add))
            await lines.first.wait()
            assert (mounts_of(data), root_names()) == before
            nursery.cancel_scope.cancel()

    trio.run(main)
    assert (mounts_of(data), root_names()) == before


def test_the_rest_of_the_machine_is_as_it_is() -> None:
    seen = output(sh("ls -A /; readlink -f /proc/self/exe; pwd"))
    assert {os.fsdecode(name) for name in seen[:-2]} == root_names() | {"pfs"}
    assert Path(os.fsdecode(seen[-2])).exists()
    assert seen[-1] == b"/"


def test_it_sees_no_process_but_its_own() -> None:
    seen = output(sh("ls /proc | grep -c '^[0-9]'; cat /proc/1/comm; kill -KILL 1; echo $$"))
    assert int(seen[0]) <= 4  # the first, the shell, and the two that count
    assert seen[2] == b"2"


def test_two_side_by_side_see_their_own(tmp_path: Path) -> None:
    seen: dict[str, list[bytes]] = {}

    os.mkfifo(tmp_path / "meeting")
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_text(name)

    async def one(launcher: Launcher, name: str, meet: str) -> None:
        lines = Lines()
        spec = sh(f"{meet} meeting; cat /pfs/in/a", cwd=str(tmp_path), binds=(Bind(tmp_path / name, "/pfs/in"),))
        await launcher.run(spec, on_line=lines.add)
        seen[name] = lines.of("stdout")

    async def main() -> None:
        async with open_launcher() as launcher, trio.open_nursery() as nursery:
            nursery.start_soon(one, launcher, "x", ": >")  # opening either end waits for the other
            nursery.start_soon(one, launcher, "y", ": <")

    trio.run(main)
    assert seen == {"x": [b"x"], "y": [b"y"]}


def test_fifty_at_once(tmp_path: Path) -> None:
    ends: list[Exit] = []

    async def one(launcher: Launcher, number: int) -> None:
        out = tmp_path / str(number)
        out.mkdir()
        spec = sh(f"echo {number} > /pfs/out/n", binds=(Bind(out, "/pfs/out", writable=True),))
        ends.append(await launcher.run(spec, on_line=lambda *_: None))

    async def main() -> None:
        async with open_launcher() as launcher, trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(one, launcher, number)

    trio.run(main)
    assert ends == [Exit(0, None, timed_out=False)] * 50
    assert [(tmp_path / str(n) / "n").read_text() for n in range(50)] == [f"{n}\n" for n in range(50)]


def test_sources_may_lie_below_the_hosts_own_pfs(data: Path) -> None:
    script = f"""
import sys; sys.path[:0] = {sys.path!r}
import trio; from pathlib import Path; from appliance.pipelines.process import *
async def main():
    spec = ProcessSpec(("ls", "-A", "/pfs", "/pfs/again"), {ENV!r}, binds=(Bind(Path("/pfs/images"), "/pfs/again"),))
    async with open_launcher() as launcher:
        await launcher.run(spec, on_line=lambda stream, line, now: sys.stdout.write(line.decode() + "|"))
trio.run(main)"""
    spec = ProcessSpec((sys.executable, "-c", script), dict(os.environ), binds=binds(data))
    assert output(spec) == [b"/pfs:|again||/pfs/again:|a|"]


def test_without_a_private_pfs_it_runs_in_the_hosts_tree() -> None:
    host = Path("/proc/self/ns/mnt").readlink()
    assert output(sh("readlink /proc/self/ns/mnt", private_pfs=False)) == [os.fsencode(host)]


def test_binds_need_a_private_pfs(data: Path) -> None:
    with pytest.raises(ValueError, match="private"):
        sh("true", private_pfs=False, binds=binds(data))


@pytest.mark.parametrize("target", ["/pfs", "/pfs/", "/pfs/../etc", "/pfs/a/", "/pfs//a", "/etc", "a"])
def test_a_bind_stays_below_pfs(target: str) -> None:
    with pytest.raises(ValueError, match="below /pfs"):
        Bind(Path("/tmp"), target)


def test_a_missing_command_is_named() -> None:
    assert refusal(ProcessSpec(("no-such-command",), ENV)) == (
        "user code could not be started: cannot execute no-such-command: No such file or directory"
    )


def test_a_missing_source_is_named(tmp_path: Path) -> None:
    reason = refusal(sh("true", binds=(Bind(tmp_path / "none", "/pfs/in"),)))
    assert reason.endswith(f"cannot bind {tmp_path}/none to /pfs/in: No such file or directory")


def test_two_sources_for_one_place_are_refused(data: Path) -> None:
    reason = refusal(sh("true", binds=(*binds(data), Bind(data / "out", "/pfs/images"))))
    assert reason.endswith(f"cannot bind {data}/out to /pfs/images: File exists")


def test_a_missing_working_directory_is_named() -> None:
    assert refusal(sh("true", cwd="/no/where")).endswith("cannot enter /no/where: No such file or directory")


def test_an_empty_command_is_refused() -> None:
    assert refusal(ProcessSpec((), ENV)).endswith("no command specified")


def test_an_impossible_argument_is_refused() -> None:
    assert refusal(ProcessSpec(("echo", "a\0b"), ENV)).endswith("cannot execute echo: embedded null byte")


def test_an_unknown_user_is_refused() -> None:
    assert refusal(sh("true", user="no-such-user")).endswith("no user no-such-user on this machine")


def test_an_exit_code_is_reported() -> None:
    assert run(sh("exit 7"))[0] == Exit(7, None, timed_out=False)


def test_a_signal_is_reported() -> None:
    assert run(sh("kill -USR1 $$"))[0] == Exit(None, signal.SIGUSR1, timed_out=False)


def test_stdin_is_given_and_ends() -> None:
    assert output(sh("cat", stdin=b"one\ntwo\n")) == [b"one", b"two"]


def test_unread_stdin_does_not_matter() -> None:
    assert output(sh("exec true", stdin=bytes(1_000_000))) == []


def test_without_stdin_it_is_empty() -> None:
    assert output(ProcessSpec(("cat",), ENV)) == []


def test_the_environment_is_exactly_as_given() -> None:
    env = {"PATH": "/usr/bin:/bin", "NAME": "ä b\nc"}
    assert output(ProcessSpec(("env", "-0"), env)) == [b"PATH=/usr/bin:/bin\0NAME=\xc3\xa4 b", b"c\0"]


def test_the_working_directory_may_be_below_pfs(data: Path) -> None:
    assert output(sh("pwd; cat a", cwd="/pfs/images", binds=binds(data))) == [b"/pfs/images", b"content"]


def test_it_starts_with_a_clean_slate() -> None:
    seen = output(sh("ls /proc/self/fd; grep -E 'Sig(Blk|Ign)' /proc/self/status; cut -d' ' -f5,6 /proc/self/stat; echo $$"))
    assert seen[:4] == [b"0", b"1", b"2", b"3"]  # 3 is of ls
    of_the_c_library = 0b11 << 31  # glibc ignores two signals of its own in what it spawns
    assert {int(word.split()[1], 16) & ~of_the_c_library for word in seen[4:6]} == {0}
    assert seen[6].split() == [seen[7], seen[7]]


def test_lines_come_with_stream_and_time() -> None:
    _, lines = run(sh("echo out; echo err >&2; printf '\\nlast'"))
    assert lines.of("stdout") == [b"out", b"", b"last"]
    assert lines.of("stderr") == [b"err"]
    times = [time_ns for stream, _, time_ns in lines.all if stream == "stdout"]
    assert times == sorted(times)


def test_long_lines_come_in_pieces() -> None:
    size = 64 * 1024
    script = f"head -c {2 * size + 1} /dev/zero; echo; head -c {size} /dev/zero; echo; echo end"
    assert [len(line) for line in output(sh(script))] == [size, size, 1, size, 3]


def test_lines_come_as_they_are_written(tmp_path: Path) -> None:
    answer = tmp_path / "answer"
    os.mkfifo(answer)
    lines = Lines()

    async def main() -> None:
        async with open_launcher() as launcher, trio.open_nursery() as nursery:
            spec = sh(f"echo question; cat {answer}")
            nursery.start_soon(lambda: launcher.run(spec, on_line=lines.add))
            await lines.first.wait()
            await trio.to_thread.run_sync(answer.write_text, "answer\n")

    trio.run(main)
    assert lines.of("stdout") == [b"question", b"answer"]


def test_a_timeout_kills_the_whole_group(tmp_path: Path, alive: Callable[[], bytes]) -> None:
    ended, _ = run(sh(f"exec 3> {tmp_path}/held; ({STUBBORN}) & {STUBBORN}"), timeout_s=0.3)
    assert ended == Exit(None, signal.SIGKILL, timed_out=True)
    assert alive() == b""


def cancel_once_up(spec: ProcessSpec, grace_s: float) -> Lines:
    """Start a run, cancel it at its first line, and come back when it has ended."""
    lines = Lines()

    async def main() -> None:
        async with open_launcher(grace_s=grace_s) as launcher, trio.open_nursery() as nursery:
            nursery.start_soon(lambda: launcher.run(spec, on_line=lines.add))
            await lines.first.wait()
            nursery.cancel_scope.cancel()

    trio.run(main)
    return lines


def test_a_cancelled_run_may_clean_up() -> None:
    lines = cancel_once_up(sh("trap 'echo bye; exit' TERM; echo up; sleep 1000 & wait"), 30)
    assert lines.of("stdout") == [b"up", b"bye"]


def test_a_cancelled_run_that_does_not_end_is_killed(tmp_path: Path, alive: Callable[[], bytes]) -> None:
    cancel_once_up(sh(f"exec 3> {tmp_path}/held; ({STUBBORN}) & echo up; {STUBBORN}"), 0.1)
    assert alive() == b""


def test_what_the_command_left_behind_is_killed(tmp_path: Path, alive: Callable[[], bytes]) -> None:
    output(sh(f"exec 3> {tmp_path}/held; ({STUBBORN}) & echo done >&3"))
    assert alive() == b"done\n"


def test_what_left_the_group_is_killed_too(tmp_path: Path, alive: Callable[[], bytes]) -> None:
    os.mkfifo(tmp_path / "up")
    daemon = f'setsid sh -c "setsid sh -c \\"echo up > up; {STUBBORN}\\" & {STUBBORN}"'
    output(sh(f"exec 3> held; {daemon} & cat up", cwd=str(tmp_path)))
    assert alive() == b""


def test_output_is_complete_however_slowly_it_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "DRAIN_S", 0.0)  # by when nothing but the first line was taken
    os.mkfifo(tmp_path / "go")
    lines = Lines()

    async def let_go_and_stand_still() -> None:
        os.write(go, b"on\n")
        await trio.sleep_forever()

    async def main() -> None:
        with trio.fail_after(30):
            async with open_launcher() as launcher:
                spec = sh("echo first; read on < go; echo second", cwd=str(tmp_path))
                await launcher.run(spec, on_line=lines.add, pace=let_go_and_stand_still)

    go = os.open(tmp_path / "go", os.O_RDWR)
    try:
        trio.run(main)
    finally:
        os.close(go)
    assert lines.of("stdout") == [b"first", b"second"]


def test_a_daemon_that_keeps_the_pipe_does_not_hold_up_the_run(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "up")
    # Without a namespace of its own, and with another run going on, nothing tells whose it is.
    script = f'setsid sh -c "echo up > up; {STUBBORN}" & cat up; printf part'
    spec = sh(script, cwd=str(tmp_path), private_pfs=False)
    other, lines = Lines(), Lines()

    async def main() -> None:
        async with open_launcher() as launcher, trio.open_nursery() as nursery:
            nursery.start_soon(lambda: launcher.run(sh("echo up; exec sleep 1000"), on_line=other.add))
            await other.first.wait()
            await launcher.run(spec, on_line=lines.add)
            nursery.cancel_scope.cancel()

    trio.run(main)
    assert lines.of("stdout") == [b"up", b"part"]


SERVED = """
import sys; sys.path[:0] = {path!r}
import trio; from appliance.pipelines.process import *
def show(stream, line, now):
    print(line.decode(), flush=True)
async def main():
    async with open_launcher() as launcher:
        await launcher.run(ProcessSpec(("sh", "-c", {script!r}), {env!r}), on_line=show)
trio.run(main)
"""


def test_nothing_survives_the_appliance(tmp_path: Path, alive: Callable[[], bytes]) -> None:
    script = f'exec 3> {tmp_path}/held; setsid sh -c "echo up; {STUBBORN}" & {STUBBORN}'
    code = SERVED.format(path=sys.path, script=script, env=ENV)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as appliance:
        assert appliance.stdout is not None
        assert appliance.stdout.readline() == b"up\n"
        appliance.kill()
    assert alive() == b""


def test_a_dead_launcher_fails_its_runs_and_is_replaced(tmp_path: Path, alive: Callable[[], bytes]) -> None:
    async def main() -> Exit:
        lines = Lines()
        async with open_launcher() as launcher:
            script = f"exec 3> {tmp_path}/held; ({STUBBORN}) & echo up; {STUBBORN}"
            with pytest.RaisesGroup(ProcessLost):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(lambda: launcher.run(sh(script), on_line=lines.add))
                    await lines.first.wait()
                    kill_launcher()
            return await launcher.run(sh("exit 3"), on_line=lines.add)

    assert trio.run(main) == Exit(3, None, timed_out=False)
    assert alive() == b""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_it_runs_as_the_requested_user() -> None:
    nobody = pwd.getpwnam("nobody")
    seen = output(sh("id -u; id -g; echo via name > /dev/stdout", user="nobody"))
    assert seen == [str(nobody.pw_uid).encode(), str(nobody.pw_gid).encode(), b"via name"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_user_may_be_a_number_nobody_has() -> None:
    assert output(sh("id -u; id -g; id -G; grep CapEff /proc/self/status", user="54321")) == [
        *[b"54321"] * 3,
        b"CapEff:\t0000000000000000",
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root is root")
def test_an_ordinary_user_stays_itself_and_can_undo_nothing(data: Path) -> None:
    script = "id -u; grep CapEff /proc/self/status; ! umount /pfs/images 2> /dev/null; cat /pfs/images/a"
    assert output(sh(script, binds=binds(data))) == [
        str(os.geteuid()).encode(),
        b"CapEff:\t0000000000000000",
        b"content",
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may")
def test_an_ordinary_user_can_not_become_another() -> None:
    assert refusal(sh("true", user="root")).endswith("cannot become user root: only root can")


@pytest.mark.skipif(os.geteuid() != 0, reason="is run by an ordinary user")
def test_all_of_this_holds_for_an_ordinary_user() -> None:
    """This file once more."""
    result = run_tests_as_somebody(Path(__file__).relative_to(PROJECT))
    assert result.returncode == 0, result.stdout + result.stderr
    assert " passed" in result.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user can not give itself root's files to write")
def test_all_ends_where_pid_namespaces_are_forbidden(tmp_path: Path) -> None:
    """The tests of what has to end once more, and only these."""
    forbid = "echo 0 > /proc/sys/user/max_pid_namespaces && exec "
    wanted = "what_left or what_the_command_left or survives or timeout or cancelled"
    tests = f'{sys.executable} -m pytest -q -p no:cacheprovider --basetemp {tmp_path}/inner -k "{wanted}" {Path(__file__)}'
    command = ["unshare", "-Ur", "sh", "-c", forbid + tests]
    result = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=50)
    assert result.returncode == 0, result.stdout + result.stderr
    assert " passed" in result.stdout
