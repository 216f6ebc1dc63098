"""Where specs come from, and what can be done with them beside creating pipelines: edit, plan, draw, run."""

import json
from pathlib import Path

import pytest
from cli.helpers import Shell, job_of, paths
from external.web_server import page, serving_pages


def spec_of(name: str, repo: str, script: str = "true", glob: str = "/") -> bytes:
    """Return the spec of a pipeline that reads a repo by S3, or by a glob that is another one."""
    pfs = {"repo": repo, "glob": glob, "s3": glob == "/"}
    transform = {"cmd": ["sh", "-c", script]}
    return json.dumps({"pipeline": {"name": name}, "input": {"pfs": pfs}, "transform": transform, "s3_out": True}).encode()


@pytest.fixture
def pipeline(sh: Shell, repo: str) -> str:
    """A pipeline whose first job, on one file, has ended."""
    name = f"{repo}-out"
    sh("put", "file", f"{repo}@master:/a", stdin=b"x")
    sh("create", "pipeline", "-f", "-", stdin=spec_of(name, repo, "echo one"))
    sh("wait", "job", f"{name}@{job_of(sh, name)}")
    return name


def version(sh: Shell, pipeline: str) -> int:
    found: int = sh("inspect", "pipeline", pipeline, "--raw").objects[0]["version"]
    return found


@pytest.fixture
def editor(tmp_path: Path) -> Path:
    """An editor that changes one word."""
    script = tmp_path / "editor"
    script.write_text("#!/bin/sh\nsed -i 's/echo one/echo two/; s/^  name: x/&/' \"$1\"\n")
    script.chmod(0o755)
    return script


def test_spec_is_taken_from_a_web_server(sh: Shell, repo: str) -> None:
    with serving_pages() as web:
        web.pages["/spec.json"] = page(spec_of(f"{repo}-out", repo))
        sh("create", "pipeline", "-f", f"{web.url}/spec.json")
        assert f"{repo}-out" in paths(sh("list", "pipeline"))
        assert "404" in sh.refused("create", "pipeline", "-f", f"{web.url}/none.json")[1]


def test_spec_of_an_object_store_is_refused(sh: Shell) -> None:
    line = "a spec is a file, - for stdin, or at an http:// or https:// address"
    assert sh.refused("create", "pipeline", "-f", "s3://bucket/spec.json")[1] == line


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_pipeline_is_edited(sh: Shell, pipeline: str, editor: Path, form: str) -> None:
    sh("edit", "pipeline", pipeline, "--editor", str(editor), "-o", form)
    assert version(sh, pipeline) == 2
    job = f"{pipeline}@{job_of(sh, pipeline)}"
    sh("wait", "job", job)
    assert sh("logs", "-j", job).out == "two\n"


def test_pipeline_that_was_not_edited_stays(sh: Shell, pipeline: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDITOR", "true")
    assert sh("edit", "pipeline", pipeline).out == "Pipeline unchanged, no update will be performed.\n"
    assert version(sh, pipeline) == 1


def test_edit_that_is_refused_is_kept(sh: Shell, pipeline: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    script = tmp_path / "spoil"
    script.write_text('#!/bin/sh\necho \'{"nonsense": 1}\' > "$1"\n')
    script.chmod(0o755)
    ran = sh.try_("edit", "pipeline", pipeline, "--editor", str(script))
    kept, problem = ran.err.splitlines()
    assert problem.startswith("unknown field `nonsense`")
    assert json.loads(Path(kept.removeprefix("what was written is in ")).read_text()) == {"nonsense": 1}


def test_datums_of_a_spec_are_listed_before_there_is_a_pipeline(sh: Shell, repo: str) -> None:
    for name in ("a", "b"):
        sh("put", "file", f"{repo}@master:/{name}", stdin=b"x")
    spec = spec_of(f"{repo}-out", repo, glob="/*")
    rows = sh("list", "datum", "-f", "-", stdin=spec).rows
    assert [row[1].partition(":")[2] for row in rows] == ["/a", "/b"]
    assert f"{repo}-out" not in paths(sh("list", "pipeline"))


def test_planned_datums_are_those_of_the_job(sh: Shell, repo: str, pipeline: str) -> None:
    planned = paths(sh("list", "datum", "-f", "-", stdin=spec_of(pipeline, repo)))
    assert planned == paths(sh("list", "datum", f"{pipeline}@{job_of(sh, pipeline)}"))


def test_datums_of_a_branch_that_is_not_there_are_none(sh: Shell, repo: str) -> None:
    spec = json.loads(spec_of(f"{repo}-out", repo))
    spec["input"]["pfs"]["branch"] = "later"
    assert sh("list", "datum", "-f", "-", stdin=json.dumps(spec).encode()).rows == []


def test_datums_of_a_cron_input_are_refused(sh: Shell, repo: str) -> None:
    spec = {
        "pipeline": {"name": repo},
        "input": {"cron": {"name": "tick", "spec": "@hourly"}},
        "transform": {"cmd": ["true"]},
    }
    line = "can't list datums with a cron input, there will be no datums until the pipeline is created"
    assert sh.refused("list", "datum", "-f", "-", stdin=json.dumps(spec).encode())[1] == line


def test_list_datum_wants_a_job_or_a_spec(sh: Shell) -> None:
    assert "either a job or --file" in sh.try_("list", "datum").err


def test_pipeline_runs_on_a_chosen_commit(sh: Shell, repo: str, pipeline: str) -> None:
    old = sh("inspect", "commit", f"{repo}@master", "--raw").objects[0]["commit"]["id"]
    sh("put", "file", f"{repo}@master:/b", stdin=b"y")
    job = sh("run", "pipeline", pipeline, f"{repo}@{old}").out.strip()
    sh("wait", "job", f"{pipeline}@{job}")
    assert sh("inspect", "commit", f"{pipeline}@{job}", "--raw").objects[0]["provenance"] == [f"{repo}@{old}"]
    again = sh("run", "pipeline", pipeline, "--job", job).out.strip()
    assert sh("inspect", "commit", f"{pipeline}@{again}", "--raw").objects[0]["provenance"] == [f"{repo}@{old}"]


def test_job_of_another_pipeline_is_not_run(sh: Shell, pipeline: str) -> None:
    ran = sh.try_("run", "pipeline", pipeline, "--job", f"other@{'0' * 32}")
    assert (ran.status != 0, "job is from the wrong pipeline" in ran.err) == (True, True)


def test_pipeline_is_run_again(sh: Shell, pipeline: str) -> None:
    before = job_of(sh, pipeline)
    sh("rerun", "pipeline", pipeline, "--reprocess")
    assert sh("wait", "job", f"{pipeline}@{job_of(sh, pipeline)}").status == 0
    assert job_of(sh, pipeline) != before


def test_pipelines_are_listed_by_state(sh: Shell, pipeline: str) -> None:
    sh("stop", "pipeline", pipeline)
    assert pipeline in paths(sh("list", "pipeline", "--state", "paused"))
    assert pipeline not in paths(sh("list", "pipeline", "--state", "running"))


@pytest.fixture
def chain(sh: Shell, repo: str, pipeline: str) -> tuple[str, str, str]:
    """A repo, a pipeline over it, and one that reads both."""
    last = f"{repo}-last"
    inputs = [{"pfs": {"repo": name, "glob": "/*"}} for name in (repo, pipeline)]
    spec = {"pipeline": {"name": last}, "input": {"cross": inputs}, "transform": {"cmd": ["true"]}, "s3_out": True}
    sh("create", "pipeline", "-f", "-", stdin=json.dumps(spec).encode())
    return repo, pipeline, last


def test_pipelines_are_drawn_as_text(sh: Shell, chain: tuple[str, str, str]) -> None:
    repo, first, last = chain
    drawn = sh("draw", "pipeline", last).out.splitlines()
    assert drawn == [repo, f"├─ {last}", f"└─ {first}", f"   └─ {last}"]


def test_pipelines_are_drawn_for_other_programs(sh: Shell, chain: tuple[str, str, str]) -> None:
    repo, first, last = chain
    dot = sh("draw", "pipeline", last, "--format", "dot").out.splitlines()
    assert (dot[0], dot[-1]) == ("digraph pipelines {", "}")
    assert f'  "{repo}" [shape=cylinder];' in dot
    assert {f'  "{repo}" -> "{first}";', f'  "{repo}" -> "{last}";', f'  "{first}" -> "{last}";'} <= {*dot}
    mermaid = sh("draw", "pipeline", last, "--format", "mermaid").out.splitlines()
    assert mermaid[:2] == ["flowchart LR", f'  n0[("{repo}")]']
    assert mermaid[2:4] == [f'  n1["{last}"]', f'  n2["{first}"]']
    assert mermaid[4:] == ["  n0 --> n1", "  n2 --> n1", "  n0 --> n2"]


def test_only_what_is_upstream_is_drawn(sh: Shell, chain: tuple[str, str, str]) -> None:
    repo, first, last = chain
    assert sh("draw", "pipeline", first).out == f"{repo}\n└─ {first}\n"
    assert sh.refused("draw", "pipeline", f"{last}-none")[1].endswith("not found")


def test_pipeline_that_others_read_is_deleted_by_force(sh: Shell, chain: tuple[str, str, str]) -> None:
    _, first, last = chain
    sh.refused("delete", "pipeline", first)
    sh("delete", "pipeline", first, "--force")
    assert first not in paths(sh("list", "repo"))
    assert last in paths(sh("list", "pipeline"))


def test_dry_run_checks_everything_and_makes_nothing(sh: Shell, repo: str, pipeline: str) -> None:
    for verb in ("create", "update"):
        sh(verb, "pipeline", "-f", "-", "--dry-run", stdin=spec_of(f"{repo}-dry", repo))
    assert f"{repo}-dry" not in paths(sh("list", "pipeline"))
    sh("update", "pipeline", "-f", "-", "--dry-run", stdin=spec_of(pipeline, repo, "echo two"))
    assert (version(sh, pipeline), len(sh("list", "job", "-p", pipeline).rows)) == (1, 1)
    line = f'pipeline "{pipeline}" already exists'
    assert sh.refused("create", "pipeline", "-f", "-", "--dry-run", stdin=spec_of(pipeline, repo))[1] == line
    missing = sh.refused("create", "pipeline", "-f", "-", "--dry-run", stdin=spec_of(f"{repo}-dry", f"{repo}-none"))
    assert missing[1] == f"repo {repo}-none not found"
