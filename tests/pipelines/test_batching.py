"""`datum_batching`: one process for many datums, each with tries, time limit, log and state of its own."""

from pathlib import Path
from typing import Any

from pipelines.helpers import Gate, Lab, images

from appliance.store import logs

FILES = {f"/{name}": name.encode() for name in "abcde"}
ASK = "curl -sf -X POST $APPLIANCE_NEXT_DATUM -o /dev/null"
"""What `pachctl next datum` sends, ten times as fast."""
LOOP = f"while true; do {ASK}; . /pfs/.env; {{}}; done"
COPY = "cp $images /pfs/out/"


def run(lab: Lab, script: str, files: dict[str, bytes] = FILES, **fields: Any) -> Any:
    """Run a job whose command asks for datums."""
    return lab.run(script, files, transform={"datum_batching": True}, **fields)


def test_one_process_serves_all_datums(lab: Lab) -> None:
    job = run(lab, f"echo born; while true; do pachctl next datum; . /pfs/.env; {COPY}; done")
    assert (job.state, job.processed, lab.output()) == ("success", 5, FILES)
    assert lab.logs(job) == ["born"]


def test_a_proxy_of_user_code_is_not_asked_for_datums(lab: Lab) -> None:
    proxy = "export http_proxy=http://127.0.0.1:9"  # where nobody is
    job = run(lab, f"{proxy}; while true; do pachctl next datum || exit 1; . /pfs/.env; {COPY}; done", {"/a": b"a"})
    assert (job.state, lab.output()) == ("success", {"/a": b"a"})


def test_loop_of_the_readme_runs_as_printed(lab: Lab) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    loop = readme.partition("<!-- test: batching -->\n```sh\n")[2].partition("```")[0]
    job = run(lab, loop, {"/a": b"one word", "/b": b"one"})
    assert (job.state, sorted(data.strip() for data in lab.output().values())) == ("success", [b"1", b"2"])


def test_each_datum_finds_its_own_inputs_and_variables(lab: Lab) -> None:
    job = run(lab, LOOP.format("ls /pfs /pfs/images > /pfs/out/$PACH_DATUM_ID; echo $PACH_JOB_ID"))
    found = {datum.id: lab.output()[f"/{datum.id}"].decode().split() for datum in lab.datums(job)}
    assert sorted(words[-1] for words in found.values()) == list("abcde")
    assert all(words[:-1] == ["/pfs:", "images", "out", "/pfs/images:"] for words in found.values())
    assert lab.logs(job) == [job.id] * 5


def test_as_many_processes_run_as_the_pipeline_asks_for(lab: Lab) -> None:
    job = run(lab, f"echo born; {LOOP.format(COPY)}", parallelism_spec={"constant": 2})
    assert (job.state, lab.output(), 1 <= len(lab.logs(job)) <= 2) == ("success", FILES, True)


def test_datum_that_is_given_back_with_an_error_has_failed_and_the_process_goes_on(lab: Lab) -> None:
    script = f"""
        echo born; {ASK}
        while true; do
            . /pfs/.env
            if [ $(basename $images) = c ]; then pachctl next datum --error "no c today"; else {COPY}; {ASK}; fi
        done
    """
    job = run(lab, script)
    assert (job.state, job.processed, job.failed) == ("failure", 4, 1)
    assert "no c today" in job.reason
    assert lab.logs(job) == ["born"]


def test_datum_that_failed_is_tried_again(lab: Lab, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    script = f"""
        {ASK}
        while true; do
            if [ -e {mark} ]; then {COPY.replace("$images", "/pfs/images/*")}; {ASK}; continue; fi
            touch {mark}; echo half > /pfs/out/half; {ASK} -d "not yet"
        done
    """
    job = run(lab, script, {"/a": b"one"}, datum_tries=2)
    assert (job.state, [datum.tries for datum in lab.datums(job)], lab.output()) == ("success", [2], {"/a": b"one"})


def test_process_that_ends_takes_only_the_datum_in_hand_with_it(lab: Lab) -> None:
    job = run(lab, f"echo born; {LOOP.format(f'case $images in *c) exit 3;; esac; {COPY}')}")
    assert (job.state, job.processed, job.failed) == ("failure", 4, 1)
    assert "user code exited with status 3" in job.reason
    assert lab.logs(job) == ["born", "born"]


def test_process_that_ends_well_is_done_with_its_datum(lab: Lab) -> None:
    job = run(lab, f"{ASK}; . /pfs/.env; {COPY}")
    assert (job.state, job.processed, lab.output()) == ("success", 5, FILES)


def test_process_that_never_asks_has_failed(lab: Lab) -> None:
    job = run(lab, "true", {"/a": b""})
    assert "user code ended without asking for a datum" in job.reason


def test_time_limit_is_each_datums_own(lab: Lab) -> None:
    slow = LOOP.format(f"case $images in *b) sleep 20;; esac; {COPY}")
    job = run(lab, slow, {"/a": b"", "/b": b"", "/c": b""}, datum_timeout="1s")
    assert (job.state, job.processed, job.failed) == ("failure", 2, 1)
    assert "datum timed out after 1s" in job.reason


def test_log_lines_are_those_of_the_datum_in_hand(lab: Lab) -> None:
    job = run(lab, LOOP.format(f"seq 200; echo $images; {COPY}"))
    with lab.store.snapshot() as db:
        chosen = [logs.Chosen(datum=datum.id) for datum in lab.datums(job)]
        lines = [[line.message for line in logs.list_log_lines(db, job.row, which)] for which in chosen]
    assert all(said[:200] == [str(number) for number in range(1, 201)] for said in lines)
    assert sorted(said[200:] for said in lines) == [[f"/pfs/images/{name}"] for name in "abcde"]


def test_unchanged_datums_are_skipped(lab: Lab) -> None:
    run(lab, LOOP.format(COPY))
    job = lab.succeeded(lab.put({"/f": b"new"}))
    assert (job.processed, job.skipped, lab.output()) == (1, 5, FILES | {"/f": b"new"})


def test_err_cmd_recovers_a_datum(lab: Lab) -> None:
    transform = {"datum_batching": True, "err_cmd": ["true"]}
    job = lab.run(LOOP.format(f"case $images in *c) exit 3;; esac; {COPY}"), FILES, transform=transform)
    assert (job.state, job.processed, job.recovered) == ("success", 4, 1)


def test_job_that_is_stopped_takes_its_process_along(lab: Lab, gate: Gate) -> None:
    lab.put({"/a": b""})
    lab.pipeline(f"{ASK}; {gate.at()}", transform={"datum_batching": True})
    gate.wait()
    lab.stop_job(lab.newest().id)
    assert lab.ended().state == "killed"
    gate.wait_gone()


def test_sidecar_of_each_datum_is_in_its_variables(lab: Lab) -> None:
    cross = {"cross": [images("/*"), {"pfs": {"repo": "images", "name": "all", "glob": "/", "s3": True}}]}
    copy = "curl -sf $S3_ENDPOINT/all/$(basename $images) -o /pfs/out/$(basename $images)"
    job = run(lab, LOOP.format(copy), {"/a": b"one", "/b": b"two"}, input=cross)
    assert (job.state, lab.output()) == ("success", {"/a": b"one", "/b": b"two"})


def test_variables_of_the_spec_are_there(lab: Lab) -> None:
    transform = {"datum_batching": True, "env": {"COLOUR": "blue"}}
    job = lab.run(LOOP.format("echo $COLOUR > /pfs/out/$PACH_DATUM_ID"), {"/a": b""}, transform=transform)
    assert (job.state, list(lab.output().values())) == ("success", [b"blue\n"])
