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


def test_earlier_versions_of_a_pipeline_are_shown(sh: Shell, repo: str, pipeline: str) -> None:
    before = sh("list", "commit", repo).rows[0][2]
    sh("put", "file", f"{repo}@master:/b", stdin=b"x")
    sh("update", "pipeline", "-f", "-", stdin=spec_of(pipeline, repo, "echo two"))
    after = job_of(sh, pipeline)
    for history in ("all", "1"):
        listed = sh("list", "pipeline", pipeline, "--history", history).rows
        assert [row[:2] for row in listed] == [[pipeline, "2"], [pipeline, "1"]]
    assert [row[1] for row in sh("list", "pipeline", pipeline).rows] == ["2"]
    assert "echo one" in sh("inspect", "pipeline", f"{pipeline}^").out
    assert "echo one" in sh("inspect", "pipeline", f"{pipeline}~1").out
    assert sh.refused("inspect", "pipeline", f"{pipeline}^2") == (1, f'pipeline "{pipeline}^2" not found')
    assert [row[:2] for row in sh("list", "pipeline", "-c", after).rows if row[0] == pipeline] == [[pipeline, "2"]]
    assert pipeline not in paths(sh("list", "pipeline", "--commit", before))
    assert sh.refused("list", "pipeline", "-c", "x") == (2, 'invalid commit id "x"')


def test_history_is_none_all_or_a_number(sh: Shell) -> None:
    assert 'invalid history "some": it is none, all, or a number' in sh.try_("list", "pipeline", "--history", "some").err


def test_spec_is_validated_and_extracted(sh: Shell, repo: str, pipeline: str) -> None:
    assert sh("validate", "pipeline", "-f", "-", stdin=spec_of(f"{repo}-new", repo)).out == ""
    assert sh.refused("validate", "pipeline", "-f", "-", stdin=b'{"pipeline": {}}')[0] == 2
    assert f"{repo}-new" not in paths(sh("list", "pipeline"))
    assert sh("extract", "pipeline", pipeline).out == sh("list", "pipeline", pipeline, "--spec").out


def test_complete_specs_are_printed(sh: Shell, repo: str) -> None:
    (printed,) = sh("create", "pipeline", "-f", "-", "--dry-run", "--raw", stdin=spec_of("new", repo)).objects
    assert printed["input"]["pfs"] == {"repo": repo, "name": repo, "branch": "master", "glob": "/", "s3": True}


TEMPLATE = """
function(name, repo, times="1") [
    {
        pipeline: {name: name + number},
        input: {pfs: {repo: repo, glob: "/", s3: true}},
        transform: {cmd: ["true"]},
        s3_out: true,
    }
    for number in std.range(1, std.parseInt(times))
]
"""


def test_pipelines_are_made_from_a_template(sh: Shell, repo: str, here: Path) -> None:
    (here / "template").write_text(TEMPLATE)
    given = ("--arg", f"name={repo}-out", "--arg", f"repo={repo}", "--arg", "times=2")
    sh("create", "pipeline", "--jsonnet", "template", *given)
    assert {f"{repo}-out1", f"{repo}-out2"} <= set(paths(sh("list", "pipeline")))
    sh("update", "pipeline", "--jsonnet", "-", *given, stdin=TEMPLATE.encode())
    assert version(sh, f"{repo}-out1") == 2


@pytest.mark.parametrize(
    ("template", "given", "says"),
    [
        ("function(name) {}", (), "function parameter name not bound"),
        ("{", (), "malformed pipeline spec"),
        ("import 'secrets.json'", (), "a template is one file"),
        ("importstr '/etc/hostname'", (), "a template is one file"),
        ("local f(x) = f(x + 1) + 1; f(1)", (), "max stack frames exceeded"),
        ("{}", (), "no `pipeline` specified"),
    ],
)
def test_template_that_gives_no_spec_is_refused(sh: Shell, template: str, given: tuple[str, ...], says: str) -> None:
    status, said = sh.refused("create", "pipeline", "--jsonnet", "-", *given, stdin=template.encode())
    assert (status, says in said) == (2, True), said


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--arg", "a=1", "-f", "-"), "--arg is for a template"),
        (("--jsonnet", "-", "--arg", "a"), 'invalid argument "a": expected name=value'),
        (("--jsonnet", "-", "--arg", "a=1", "--arg", "a=2"), 'argument "a" is given twice'),
        (("--jsonnet", "-", "-f", "-"), "either --file (-f) or --jsonnet needs to be provided"),
        ((), "either --file (-f) or --jsonnet needs to be provided"),
        (("-f", "-", "--push-images"), "images are neither built nor pushed here"),
        (("-f", "-", "--registry", "docker.io"), "images are neither built nor pushed here"),
        (("-f", "-", "--project", "other"), "there are no projects here"),
    ],
)
def test_options_that_make_no_sense_are_refused(sh: Shell, words: tuple[str, ...], says: str) -> None:
    ran = sh.try_("create", "pipeline", *words, stdin=b"{}")
    assert (ran.status, says in ran.err) == (2, True), ran.err


def test_default_project_may_be_named(sh: Shell, pipeline: str) -> None:
    assert paths(sh("list", "pipeline", "--project", "default", "-A")) == paths(sh("list", "pipeline"))
    assert sh("inspect", "pipeline", pipeline, "--project=default").out.startswith(f"Name: {pipeline}\n")


@pytest.mark.parametrize("noun", ["project", "defaults"])
def test_what_is_for_several_projects_or_clusters_is_refused(sh: Shell, noun: str) -> None:
    for verb in ("create", "update", "inspect", "list", "delete"):
        status, said = sh.refused(verb, noun, "name", "--cluster")
        assert (status, said.startswith("there are no ")) == (1, True)


def test_datums_are_listed_in_pages(sh: Shell, repo: str) -> None:
    for name in "abc":
        sh("put", "file", f"{repo}@master:/{name}", stdin=b"x")
    plain = spec_of(f"{repo}-out", repo, glob="/*")
    whole = paths(sh("list", "datum", "-f", "-", stdin=plain))
    pages = [paths(sh("list", "datum", "-f", "-", "--page", str(n), "--pageSize", "2", stdin=plain)) for n in range(3)]
    assert pages == [whole[:2], whole[2:], []]


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
