"""Specs: what is understood, what becomes of it, and every text of refusal."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from appliance.errors import ApplianceError, InvalidSpec, StoreDamaged, Unsupported
from appliance.pipelines.spec import (
    Input,
    PfsInput,
    Spec,
    check_supported,
    from_json,
    input_shorthand,
    leaves,
    parse_duration,
    parse_specs,
    to_json,
)

# From Pachyderm's documentation of S3 pipelines, as printed there: 1.x, with a string for a boolean and a scheme in the repo.
PRINTED_1X = """{
  "pipeline": {
    "name": "test"
  },
  "input": {
    "pfs": {
      "glob": "/",
      "repo": "s3://images",
      "s3": "true"
    }
  },
  "transform": {
    "cmd": [ "python3", "/edges.py" ],
    "image": "pachyderm/opencv"
  },
  "s3_out": true
}"""
PRINTED_2X = """{
  "pipeline": {
    "name": "s3_protocol_enabled_pipeline"
  },
  "input": {
    "pfs": {
      "glob": "/",
      "repo": "labresults",
      "name": "labresults",
      "s3": true
    }
  },
  "transform": {
    "cmd": [ "sh" ],
    "stdin": [ "set -x && mkdir -p /tmp/result && aws --endpoint-url $S3_ENDPOINT s3 ls && aws --endpoint-url $S3_ENDPOINT s3 cp s3://labresults/ /tmp/result/ --recursive && aws --endpoint-url $S3_ENDPOINT s3 cp /tmp/result/ s3://out --recursive" ],
    "image": "pachyderm/ubuntu-with-s3-clients:v0.0.1"
  },
  "s3_out": true
}"""  # noqa: E501

NAME_RULE = "invalid: only alphanumeric characters, underscores, and dashes are allowed"
S3_RULE = "as 's3' requires input data to be accessed via Pachyderm's S3 gateway rather than the file system"


def document(**changes: Any) -> dict[str, Any]:
    """A spec that is valid without `changes`; None takes a field away."""
    fields = {
        "pipeline": {"name": "edges"},
        "input": {"pfs": {"repo": "images", "glob": "/*"}},
        "transform": {"cmd": ["true"]},
    }
    return {name: value for name, value in (fields | changes).items() if value is not None}


def parse(*, strict: bool = False, **changes: Any) -> Spec:
    (spec,) = parse_specs(json.dumps(document(**changes)), strict=strict)
    return spec


def pfs(repo: str = "images", **fields: Any) -> dict[str, Any]:
    return {"pfs": {"repo": repo, "glob": "/*"} | fields}


def refusal(**changes: Any) -> str:
    with pytest.raises(InvalidSpec) as caught:
        parse(**changes)
    return str(caught.value)


def pfs_input(spec: Spec) -> PfsInput:
    (leaf,) = leaves(spec.input)
    return leaf


class TestReading:
    def test_spec_printed_for_1x_is_understood(self) -> None:
        (spec,) = parse_specs(PRINTED_1X)
        assert pfs_input(spec) == PfsInput(repo="images", name="images", branch="master", glob="/", s3=True)

    def test_spec_printed_for_2x_is_understood(self) -> None:
        (spec,) = parse_specs(PRINTED_2X, strict=True)
        assert (spec.name, spec.s3_out, pfs_input(spec).s3) == ("s3_protocol_enabled_pipeline", True, True)

    def test_string_for_boolean_is_refused_when_strict(self) -> None:
        with pytest.raises(
            InvalidSpec, match=r"malformed pipeline spec: Expected `bool`, got `str` - at `\$\.input\.pfs\.s3`"
        ):
            parse_specs(PRINTED_1X, strict=True)

    def test_scheme_in_repo_is_refused_when_strict(self) -> None:
        with pytest.raises(InvalidSpec) as caught:
            parse(strict=True, input=pfs("s3://images", s3=True, glob="/"))
        assert str(caught.value) == f"repo name (s3://images) {NAME_RULE}"

    def test_string_for_number_is_understood(self) -> None:
        assert parse(datum_tries="5").datum_tries == 5

    def test_yaml_documents_in_a_row_are_several_specs(self) -> None:
        text = "---\n".join(
            f"pipeline: {{name: p{n}}}\ninput: {{pfs: {{repo: r, glob: /}}}}\ntransform: {{}}\n" for n in (1, 2)
        )
        assert [spec.name for spec in parse_specs("---\n" + text + "---\n")] == ["p1", "p2"]

    def test_json_objects_in_a_row_are_several_specs(self) -> None:
        text = "\t" + json.dumps(document()) + "\n" + json.dumps(document(pipeline={"name": "blur"}))
        assert [spec.name for spec in parse_specs(text)] == ["edges", "blur"]

    def test_array_is_several_specs(self) -> None:
        assert len(parse_specs(json.dumps([document(), document()]))) == 2

    def test_bytes_with_a_byte_order_mark_are_understood(self) -> None:
        assert parse_specs(json.dumps(document()).encode("utf-8-sig"))[0].name == "edges"

    def test_camel_case_names_are_understood(self) -> None:
        spec = parse(outputBranch="out", datumTries=1, egress={"URL": "s3://b/d"})
        assert (spec.output_branch, spec.datum_tries, spec.egress_url) == ("out", 1, "s3://b/d")

    def test_null_is_the_default(self) -> None:
        assert parse_specs(json.dumps(document() | {"datum_tries": None}))[0].datum_tries == 3

    def test_schema_of_an_editor_is_ignored(self) -> None:
        assert parse(**{"$schema": "https://example.org/spec.json"}).name == "edges"

    def test_unquoted_words_of_yaml_are_text(self) -> None:
        text = "pipeline: {name: p}\ninput: {pfs: {repo: r, glob: /}}\ntransform: {cmd: [yes, 2020-01-01, 010, 1:30]}\n"
        assert parse_specs(text)[0].transform.cmd == ("yes", "2020-01-01", "010", "1:30")

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("", "there is no spec in the text"),
            ("---\n", "there is no spec in the text"),
            ("just text", "expected an object or an array of them, got a string"),
            ("[1]", "expected an object or an array of them, got a number"),
            ('{"a": 1, "a": 2}', "field `a` is given 2 times"),
            ('{"outputBranch": "a", "output_branch": "b"}', "field `output_branch` is given 2 times"),
            ('{"description": "\\u0000"}', "the text '\\x00' is not UTF-8 or contains NUL"),
            ('{"description": "\\ud800"}', "the text '\\ud800' is not UTF-8 or contains NUL"),
            ('{"datum_tries": NaN}', "the number nan is not finite"),
            ('{"datum_tries": 99999999999999999999}', "a number does not fit into 64 bits"),
            ("1: 2", "names of fields must be strings, not a number"),
            ("a: !!timestamp 2020-01-01", "tag timestamp is not supported"),
            ("[" * 200 + "]" * 200, "expected an object or an array of them, got an array"),
            ('{"tolerations":' + "[" * 100_000, "nested too deeply"),
        ],
    )
    def test_malformed_text_is_refused(self, text: str, problem: str) -> None:
        with pytest.raises(InvalidSpec) as caught:
            parse_specs(text)
        assert str(caught.value) == f"malformed pipeline spec: {problem}"

    def test_broken_json_is_refused_with_its_place(self) -> None:
        with pytest.raises(InvalidSpec, match=r"^malformed pipeline spec: Expecting .* line 1 column 13"):
            parse_specs('{"pipeline":]')

    def test_text_that_is_not_utf8_is_refused(self) -> None:
        with pytest.raises(InvalidSpec, match="malformed pipeline spec: not UTF-8 text"):
            parse_specs(b"\xff")

    def test_yaml_alias_is_refused(self) -> None:
        with pytest.raises(InvalidSpec, match="alias nodes not supported"):
            parse_specs("description: &a text\nsalt: *a\n")

    @pytest.mark.parametrize(
        ("changes", "text"),
        [
            ({"imput": {}}, "unknown field `imput` in pipeline spec, did you mean `input`?"),
            ({"input": pfs(golb="/")}, "unknown field `input.pfs.golb` in pipeline spec, did you mean `input.pfs.glob`?"),
            (
                {"input": {"cross": [pfs(), pfs("b", emptyFile=True)]}},
                "unknown field `input.cross[1].pfs.emptyFile` in pipeline spec, "
                "did you mean `input.cross[1].pfs.empty_files`?",
            ),
            (
                {"pipeline": {"name": "edges", "s3_out": True}},
                "unknown field `pipeline.s3_out` in pipeline spec, did you mean `s3_out`?",
            ),
            ({"qqq": 1}, "unknown field `qqq` in pipeline spec"),
        ],
    )
    def test_unknown_field_is_refused_with_what_may_be_meant(self, changes: dict[str, Any], text: str) -> None:
        assert refusal(**changes) == text

    def test_value_of_a_wrong_type_is_refused_with_its_place(self) -> None:
        text = refusal(transform={"cmd": "echo"})
        assert text == "malformed pipeline spec: Expected `array`, got `str` - at `$.transform.cmd`"


class TestDefaults:
    def test_fields_have_defaults(self) -> None:
        spec = parse()
        assert (spec.output_branch, spec.datum_tries, spec.reprocess_spec) == ("master", 3, "until_success")
        assert (spec.parallelism_spec.constant, spec.transform.image) == (1, "ubuntu:20.04")

    @pytest.mark.parametrize("tries", [0, -1])
    def test_no_tries_are_the_default(self, tries: int) -> None:
        assert parse(datum_tries=tries).datum_tries == 3

    def test_input_has_defaults(self) -> None:
        assert pfs_input(parse()) == PfsInput(repo="images", name="images", branch="master", glob="/*")

    def test_glob_is_cleaned(self) -> None:
        assert pfs_input(parse(input=pfs(glob="dir/*/"))).glob == "/dir/*"

    def test_trigger_makes_a_numbered_branch(self) -> None:
        spec = parse(input={"cross": [pfs(name="b", trigger={}), pfs(name="a", trigger={"branch": "dev"})]})
        assert [(leaf.name, leaf.branch) for leaf in leaves(spec.input)] == [
            ("a", "edges-trigger-1"),
            ("b", "edges-trigger-2"),
        ]

    def test_trigger_watches_master(self) -> None:
        trigger = pfs_input(parse(input=pfs(trigger={"size": "1M"}))).trigger
        assert trigger is not None
        assert trigger.branch == "master"

    def test_cron_has_a_repo_of_its_own(self) -> None:
        assert pfs_input(parse(input={"cron": {"name": "tick", "spec": "@hourly"}})).repo == "edges_tick"

    def test_order_of_members_in_the_spec_has_no_meaning(self) -> None:
        one = parse(input={"cross": [pfs("b"), {"cross": [pfs("d"), pfs("a")]}]})
        assert [leaf.name for leaf in leaves(one.input)] == ["a", "d", "b"]

    @pytest.mark.parametrize(
        ("text", "seconds"),
        [("30s", 30), ("1h30m", 5400), ("1.5s", 1.5), ("250ms", 0.25), ("", None), ("0s", None)],
    )
    def test_timeout_is_in_seconds(self, text: str, seconds: float | None) -> None:
        assert parse(datum_timeout=text, job_timeout=text).datum_timeout_s == seconds

    @pytest.mark.parametrize("text", ["5", "-5s", "s", ".s", "5 s", "5d", "five"])
    def test_other_text_is_no_duration(self, text: str) -> None:
        assert refusal(job_timeout=text) == f'malformed pipeline spec: "{text}" is no duration such as "30s" or "1h30m"'

    def test_endless_duration_is_refused(self) -> None:
        with pytest.raises(InvalidSpec, match="is too long"):
            parse_duration("99999999999h")

    def test_egress_has_two_spellings(self) -> None:
        assert parse(egress={"object_storage": {"url": "s3://b"}}).egress_url == "s3://b"


class TestRules:
    """One row for each text of refusal."""

    @pytest.mark.parametrize(
        ("changes", "text"),
        [
            ({"pipeline": None}, "no `pipeline` specified"),
            ({"pipeline": {}}, "no pipeline `name` specified"),
            ({"pipeline": {"name": "a.b"}}, f"invalid pipeline name: name (a.b) {NAME_RULE}"),
            ({"pipeline": {"name": "-a"}}, "pipeline names must start with an alphanumeric character"),
            (
                {"pipeline": {"name": "a" * 64}},
                f'pipeline name is 64 characters long, but must have at most 63: "{"a" * 64}"',
            ),
            ({"tf_job": {}}, "embedding TFJobs in pipelines is not supported yet"),
            ({"s3_out": True, "service": {}}, "s3 output is not supported in spouts or services"),
            ({"s3_out": True, "spout": {}}, "s3 output is not supported in spouts or services"),
            ({"transform": None}, "pipeline must specify a transform"),
            (
                {"reprocess_spec": "never"},
                "invalid pipeline spec: ReprocessSpec must be one of 'until_success' or 'every_job'",
            ),
            (
                {"spout": {}, "autoscaling": True},
                "autoscaling can't be used with spouts (spouts aren't triggered externally)",
            ),
            ({"spout": {}}, "spout pipelines (without a service) must not have an input"),
            (
                {"s3_out": True, "enable_stats": True},
                "stats are not supported for pipelines that output via Pachyderm's S3 gateway",
            ),
            (
                {"parallelism_spec": {"constant": 2, "coefficient": 2}},
                "contradictory parallelism strategies: must set at most one of ParallelismSpec.Constant and "
                "ParallelismSpec.Coefficient",
            ),
            (
                {"parallelism_spec": {"coefficient": 2}},
                "`parallelism_spec.coefficient` is a share of a cluster's nodes; set `parallelism_spec.constant`",
            ),
            (
                {"service": {}, "parallelism_spec": {"constant": 2}},
                "services can only be run with a constant parallelism of 1",
            ),
            ({"service": {"type": "X"}}, "the following service type X is not allowed"),
            ({"service": {}, "spout": {"service": {}}}, "only one of pipeline.service or pipeline.spout can be set"),
            ({"output_branch": "a.b"}, f"branch name (a.b) {NAME_RULE}"),
            ({"pod_spec": "{"}, "malformed PodSpec"),
            ({"pod_patch": "{"}, "malformed PodPatch"),
            ({"egress": {"sql_database": {}}}, "egress.sql_database.secret is required"),
            (
                {"egress": {"sql_database": {"secret": {"name": "s"}}}},
                "egress.sql_database.secret.name and egress.sql_database.secret.key are required",
            ),
            (
                {"egress": {"sql_database": {}, "object_storage": {}}},
                "malformed pipeline spec: `egress` has both `object_storage` and `sql_database`",
            ),
            (
                {"transform": {"secrets": [{"name": "s", "env_var": "S"}]}},
                "secret s has env_var set but is missing key",
            ),
            ({"transform": {"env": {"A=B": ""}}}, 'malformed pipeline spec: `transform.env` has the impossible name "A=B"'),
        ],
    )
    def test_spec_is_refused(self, changes: dict[str, Any], text: str) -> None:
        assert refusal(**changes) == text

    @pytest.mark.parametrize(
        ("tree", "text"),
        [
            (None, "no input set"),
            ({}, "no input set"),
            ({"cross": []}, "no input set"),
            (pfs() | {"cross": [pfs("b")]}, "multiple input types set"),
            ({"cross": [pfs("a")], "join": [pfs("b")]}, "multiple input types set"),
            ({"pfs": {"glob": "/"}}, "input must specify a name"),
            (pfs("", name="a"), "input must specify a repo"),
            (pfs(glob=""), "input must specify a glob"),
            (pfs(name="out"), "input cannot be named out"),
            (pfs(name=".env"), "input cannot be named .env"),
            (pfs(name="a/b"), "input cannot be named a/b: it is a directory below /pfs, a bucket and a variable"),
            (
                pfs("out"),
                "inputs based on repos named \"out\" must have 'name' set, as pachyderm already creates /pfs/out to collect "
                "job output",
            ),
            ({"cross": [pfs("a", name="x"), pfs("b", name="x")]}, 'name "x" was used more than once'),
            ({"cross": [pfs("x"), {"union": [pfs("x"), pfs("b")]}]}, 'name "x" was used more than once'),
            ({"join": [pfs("x"), {"cron": {"name": "x", "spec": "@daily"}}]}, 'name "x" was used more than once'),
            (pfs("a.b", name="x"), f"repo name (a.b) {NAME_RULE}"),
            (pfs(branch="a.b"), f"branch name (a.b) {NAME_RULE}"),
            (pfs(glob="/{a"), "glob /{a invalid: `}` is missing"),
            (
                pfs(commit="c"),
                "input cannot come from a commit; use a branch with head pointing to the commit",
            ),
            (pfs(repo_type="x"), 'input has the unknown repo_type "x"'),
            ({"git": {"url": "u"}}, "git inputs are not supported; put the files into a repo"),
            (
                {"cron": {"name": "t", "spec": "often"}},
                'error parsing cron-spec: "often" is no schedule: Wrong number of fields',
            ),
            *(
                (
                    pfs(s3=True, glob=glob),
                    "inputs that set 's3' to 'true' must also set 'glob', to \"/\", as the S3 gateway is only able to expose "
                    "data at the commit level",
                )
                for glob in ("/*", "", "/a")
            ),
            (pfs(s3=True, glob="/", lazy=True), f"input cannot specify both 's3' and 'lazy', {S3_RULE}"),
            (pfs(s3=True, glob="/", empty_files=True), f"input cannot specify both 's3' and 'empty_files', {S3_RULE}"),
            *(
                (
                    {kind: [pfs("a"), {"cross": [pfs("b", s3=True, glob="/")]}]},
                    f"S3 inputs in {kind} expressions are not supported",
                )
                for kind in ("join", "group", "union")
            ),
        ],
    )
    def test_input_is_refused(self, tree: dict[str, Any] | None, text: str) -> None:
        assert refusal(input=tree) == text

    @pytest.mark.parametrize(
        "tree",
        [
            pfs(s3=True, glob="/"),
            {"cross": [pfs("a", s3=True, glob="/"), pfs("b"), {"cross": [pfs("c", s3=True, glob="/")]}]},
            {"union": [pfs("a", name="x"), pfs("b", name="x")]},
            pfs("out", name="x"),
            {"cron": {"name": "t", "spec": "@every 90s"}},
            {"cron": {"name": "t", "spec": "*/5 0-3 1,2 * MON"}},
        ],
    )
    def test_input_is_accepted(self, tree: dict[str, Any]) -> None:
        assert parse(input=tree).input is not None

    def test_s3_rules_come_before_those_of_expressions(self) -> None:
        assert "must also set 'glob'" in refusal(input={"join": [pfs(s3=True)]})

    def test_rules_of_names_come_first(self) -> None:
        assert refusal(input={"join": [pfs(s3=True), pfs(name="out")]}) == "input cannot be named out"

    def test_spout_has_no_input(self) -> None:
        assert parse(spout={}, input=None).spout is not None

    def test_stats_are_allowed_without_s3_output(self) -> None:
        assert parse(enable_stats=True, input=pfs(s3=True, glob="/")).enable_stats

    @pytest.mark.parametrize(
        ("changes", "needed"), [({"s3_out": True}, True), ({"input": pfs(s3=True, glob="/")}, True), ({}, False)]
    )
    def test_sidecar_is_for_s3_only(self, changes: dict[str, Any], needed: bool) -> None:
        assert parse(**changes).needs_sidecar == needed


class TestNotices:
    def test_fields_for_kubernetes_are_named_in_one_line(self) -> None:
        spec = parse(resource_limits={"cpu": 0.5}, autoscaling=True, transform={"cmd": ["true"], "memory_volume": True})
        assert spec.notices == (
            "pipeline edges: no effect on a workstation: `autoscaling`, `resource_limits`, `transform.memory_volume`",
        )

    @pytest.mark.parametrize("image", ["python", "python:latest", "host:5000/python", "host:5000/python:latest"])
    def test_image_that_may_change_is_named_where_it_counts(self, image: str) -> None:
        spec = parse(transform={"cmd": ["true"], "image": image})
        text = f"pipeline edges: image {image} may be another one tomorrow: give it a tag other than latest"
        assert (spec.list_notices(containers=True), spec.notices) == ((text,), ())

    @pytest.mark.parametrize("image", ["python:3", "host:5000/python:3", "python@sha256:" + "0" * 64])
    def test_image_that_stays_is_not(self, image: str) -> None:
        assert parse(transform={"cmd": ["true"], "image": image}).list_notices(containers=True) == ()

    def test_plain_spec_has_none(self) -> None:
        assert parse(transform={"cmd": ["true"], "image": "python:3"}).notices == ()


class TestSupport:
    @pytest.mark.parametrize(
        ("changes", "what"),
        [
            ({"input": pfs(project="other")}, "projects other than `default`"),
            ({"spout": {}, "input": None}, "spouts"),
            ({"service": {}}, "services"),
        ],
    )
    def test_what_does_not_run_yet_is_refused(self, changes: dict[str, Any], what: str) -> None:
        with pytest.raises(Unsupported) as caught:
            check_supported(parse(**changes))
        assert str(caught.value) == f"pipeline edges: this version does not run {what}"

    def test_all_of_it_is_named_at_once(self) -> None:
        with pytest.raises(Unsupported, match=r"does not run services, projects other than `default`"):
            check_supported(parse(service={}, input=pfs(project="other")))

    @pytest.mark.parametrize("text", [PRINTED_1X, PRINTED_2X])
    def test_printed_specs_run(self, text: str) -> None:
        check_supported(parse_specs(text)[0])

    def test_what_does_run_is_not_refused(self) -> None:
        check_supported(
            parse(
                pipeline={"name": "edges", "project": {"name": "default"}},
                input={"cross": [pfs("a", s3=True, glob="/"), pfs("b", reference=True)]},
                transform={"cmd": ["sh"], "stdin": ["ls"], "env": {"A": "b"}, "accept_return_code": [1], "working_dir": "/"},
                parallelism_spec={"constant": 4},
                egress={"URL": "s3://bucket/dir"},
                enable_stats=True,
                datum_timeout="1m",
            )
        )


@pytest.mark.parametrize(
    ("tree", "text"),
    [
        (pfs(), "images:/*"),
        ({"cross": [pfs("b", glob="/"), pfs("a")]}, "(a:/* ⨯ b:/)"),
        ({"join": [pfs("a"), pfs("b")]}, "(a:/* ⋈ b:/*)"),
        ({"union": [pfs("a"), {"cross": [pfs("b"), pfs("c")]}]}, "(a:/* ∪ (b:/* ⨯ c:/*))"),
        ({"group": [pfs("a"), pfs("b")]}, "(Group: a:/*, b:/*)"),
        ({"cron": {"name": "tick", "spec": "@daily"}}, "tick:@daily"),
    ],
)
def test_input_has_a_shorthand(tree: dict[str, Any], text: str) -> None:
    assert input_shorthand(parse(input=tree).input) == text


def test_no_input_has_a_shorthand() -> None:
    assert input_shorthand(None) == "none"


def test_stored_spec_is_small() -> None:
    stored = msgspec.json.decode(to_json(parse()))
    assert stored == {
        "pipeline": {"name": "edges"},
        "transform": {"cmd": ["true"]},
        "input": {"pfs": {"repo": "images", "name": "images", "branch": "master", "glob": "/*"}},
    }


def test_stored_spec_that_is_none_is_damage() -> None:
    with pytest.raises(StoreDamaged, match="stored pipeline spec can not be read"):
        from_json(b'{"pipeline": 1}')


names = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,8}", fullmatch=True).filter(lambda name: name != "out")
words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
pfs_inputs = st.fixed_dictionaries(
    {"repo": names, "glob": st.sampled_from(["/", "/*", "a/(*)/"])},
    optional={"branch": names, "lazy": st.booleans(), "join_on": words, "trigger": st.just({"commits": 2})},
)


def inputs(unnamed: dict[str, Any], counter: list[int]) -> dict[str, Any]:
    """Give the leaves of a tree distinct names."""
    counter.append(0)
    if "repo" in unnamed:
        return {"pfs": unnamed | {"name": f"n{len(counter)}"}}
    ((kind, members),) = unnamed.items()
    return {kind: [inputs(member, counter) for member in members]}


trees = st.recursive(
    pfs_inputs,
    lambda members: st.tuples(
        st.sampled_from(["cross", "union", "join", "group"]), st.lists(members, min_size=1, max_size=3)
    ).map(lambda pair: dict([pair])),
    max_leaves=6,
)
documents = st.fixed_dictionaries(
    {
        "pipeline": st.fixed_dictionaries({"name": names}),
        "input": trees.map(lambda tree: inputs(tree, [])),
        "transform": st.fixed_dictionaries(
            {"cmd": st.lists(words)},
            optional={"env": st.dictionaries(names, words), "accept_return_code": st.lists(st.integers(0, 255))},
        ),
    },
    optional={
        "description": words,
        "datum_tries": st.integers(-(2**63), 2**63 - 1),
        "parallelism_spec": st.fixed_dictionaries({"constant": st.integers(0, 9)}),
        "egress": st.fixed_dictionaries({"URL": words}),
        "resource_limits": st.fixed_dictionaries({"cpu": st.floats(0, 9) | words, "memory": words}),
        "metadata": st.fixed_dictionaries({"labels": st.dictionaries(words, words)}),
        "tolerations": st.lists(st.dictionaries(words, words | st.booleans() | st.none())),
    },
)


@settings(deadline=None)
@given(documents)
def test_stored_spec_comes_back(fields: dict[str, Any]) -> None:
    (spec,) = parse_specs(json.dumps(fields))
    assert from_json(to_json(spec)) == spec


@settings(deadline=None)
@given(documents)
def test_complete_spec_stays_as_it_is(fields: dict[str, Any]) -> None:
    (spec,) = parse_specs(json.dumps(fields))
    assert parse_specs(to_json(spec)) == [spec]


def mirrored(tree: Input) -> Input:
    members = {kind: tuple(map(mirrored, getattr(tree, kind)[::-1])) for kind in ("cross", "union", "join", "group")}
    return msgspec.structs.replace(tree, **members)


@settings(deadline=None)
@given(documents)
def test_leaves_do_not_depend_on_the_order_of_members(fields: dict[str, Any]) -> None:
    (spec,) = parse_specs(json.dumps(fields))
    assert spec.input is not None
    assert leaves(mirrored(spec.input)) == leaves(spec.input)


known = st.sampled_from(
    [*Spec.__struct_fields__, *Input.__struct_fields__, *PfsInput.__struct_fields__, "name", "cmd", "env"]
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | names
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(known | st.text(max_size=3), inner)
)


def parse_or_refuse(text: str | bytes) -> None:
    for strict in (False, True):
        try:
            specs = parse_specs(text, strict=strict)
        except ApplianceError:
            continue
        for spec in specs:
            to_json(spec), spec.notices, input_shorthand(spec.input)


@settings(deadline=None)
@given(st.text() | st.text(alphabet="{}[]:,-&*!|>%@?#'\"\\ \n\tabx0.1~<=", max_size=40))
@example('"\\UFFFFFFFF"')
@example("!!int x")
@example("!!float x")
@example("%YAML 1." + "1" * 5000)
@example("{" + "?" * 5)
@example("- " * 3000)
@example("1" * 5000)
@example("<<: {a: 1}")
def test_any_text_is_parsed_or_refused(text: str) -> None:
    parse_or_refuse(text)


@settings(deadline=None)
@given(st.binary())
def test_any_bytes_are_parsed_or_refused(data: bytes) -> None:
    parse_or_refuse(data)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(anything, st.dictionaries(known, anything, max_size=3))
def test_any_json_is_parsed_or_refused(value: Any, changes: dict[str, Any]) -> None:
    parse_or_refuse(json.dumps(value))
    parse_or_refuse(json.dumps(document() | changes))
