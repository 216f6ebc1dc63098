"""Patterns: what they match, what they capture, and that they stay quick."""

import functools
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from appliance.errors import InvalidRequest
from appliance.globs import compile_glob, escape_glob, expand_groups


def matches(pattern: str, path: str) -> bool:
    return compile_glob(pattern).match(path) is not None


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("/", "/"),
        ("", "/"),
        ("/*", "/a"),
        ("*", "/a"),
        ("/*/", "/a"),
        ("/*/*", "/a/b"),
        ("/dir/*", "/dir/b.png"),
        ("/**", "/a/b/c"),
        ("**", "/a"),
        ("/**.png", "/a/b.png"),
        ("/?", "/a"),
        ("/[abc]", "/b"),
        ("/[a-c]x", "/bx"),
        ("/[!a]", "/b"),
        ("/[^a]", "/b"),
        ("/[a-]", "/-"),
        (r"/[\]]", "/]"),
        (r"/[a\-c]", "/-"),
        ("/[[:digit:]_]", "/7"),
        ("/{a,b}c", "/bc"),
        ("/{a,b/c}", "/b/c"),
        ("/{a,{b,c}}", "/c"),
        ("/@(a|b)", "/b"),
        ("/(a|b)", "/a"),
        ("/x?(a)", "/x"),
        ("/x*(a|b)", "/xabba"),
        ("/+([0-9])", "/2024"),
        ("/+(ab|c)", "/abcab"),
        ("/+([!c]b|c)", "/abcab"),
        ("/!(a|b)", "/ab"),
        ("/!(*.tmp)", "/a.txt"),
        ("/*.!(js)", "/a.js.gz"),
        ("/**(a)", "/xaa"),
        (r"/\*", "/*"),
        ("/a,b|c)d}e]", "/a,b|c)d}e]"),
        ("/a@b!c+d^e", "/a@b!c+d^e"),
        ("/ä?", "/äö"),
        ("/a*", "/a\nb"),
    ],
)
def test_pattern_matches(pattern: str, path: str) -> None:
    assert matches(pattern, path)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("/", "/a"),
        ("/*", "/"),
        ("/**", "/"),
        ("/*", "/a/b"),
        ("/*/*", "/a"),
        ("/a", "/ab"),
        ("/?", "/ab"),
        ("/a?b", "/a/b"),
        ("/a[!x]b", "/a/b"),
        ("/a[/]b", "/a/b"),
        ("/[!a]", "/a"),
        ("/{a,b}", "/c"),
        ("/+(a)", "/"),
        ("/@(a|b)", "/ab"),
        ("/!(a|b)", "/a"),
        ("/!(a)", "/b/c"),
        ("/!(*.tmp)", "/a.tmp"),
        (r"/\*", "/a"),
        ("/*a", "/a\n"),
    ],
)
def test_pattern_does_not_match(pattern: str, path: str) -> None:
    assert not matches(pattern, path)


def test_negation_before_more_text_refuses_whatever_begins_so() -> None:
    assert not matches("/!(foo)*", "/foobar")


@pytest.mark.parametrize(
    ("pattern", "path", "captures"),
    [
        ("/a/*", "/a/b", ()),
        ("/(*)-(*).txt", "/x-y.txt", ("x", "y")),
        ("/(*)-(*)", "/a-b-c", ("a-b", "c")),
        ("/*(a|b)x", "/abax", ("aba",)),
        ("/?(a)x", "/x", ("",)),
        ("/{(a)x,(b)y}", "/by", ("", "b")),
        ("/!(a)", "/x", ("x",)),
        ("/@(a@(b|c))", "/ac", ("ac", "c")),
    ],
)
def test_groups_capture(pattern: str, path: str, captures: tuple[str, ...]) -> None:
    assert compile_glob(pattern).match(path) == captures


@pytest.mark.parametrize(
    ("pattern", "prefix", "depth"),
    [
        ("/", "/", 0),
        ("/*", "/", 1),
        ("/data*", "/data", 1),
        ("/a/b", "/a/b", 2),
        (r"/a\*/b*", "/a*/b", 2),
        ("/dir/*/x", "/dir/", 3),
        ("/a/**", "/a/", None),
        ("/{a,b}/c", "/", 2),
        ("/{a,b/c}", "/", None),
        ("/x?(/y)", "/x", None),
        ("/[!a]", "/", 1),
        ("/!(a)/b", "/", 2),
        ("/+(a|b)", "/", 1),
    ],
)
def test_prefix_and_depth_restrict_the_scan(pattern: str, prefix: str, depth: int | None) -> None:
    glob = compile_glob(pattern)
    assert (glob.literal_prefix, glob.depth) == (prefix, depth)


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("/{a", "`}` is missing"),
        ("/(a", "`)` is missing"),
        ("/[a", "`]` is missing"),
        ("/[]", "a class is empty"),
        ("/[z-a]", "the range z-a is empty"),
        ("/[[:no:]]", "there is no class [:no:]"),
        ("/a\\", "nothing follows the last `\\`"),
        ("/^(a)", "`^(` is no group, `!(` is"),
        ("/+(a*)", "a repeated group holds plain characters, `?` and classes only"),
        ("/+(a|aa)", "alternatives of different length in a repeated group must begin differently"),
        ("/*([a-c]x|b)", "alternatives of different length in a repeated group must begin differently"),
        ("/" + "(" * 40 + ")" * 40, "groups are nested more than 32 deep"),
    ],
)
def test_broken_pattern_is_refused(pattern: str, problem: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        compile_glob(pattern)
    assert str(caught.value) == f"glob {pattern} invalid: {problem}"


def test_pattern_above_one_kibibyte_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="longer than 1024 bytes"):
        compile_glob("/" + "ä" * 512)


def test_pattern_with_nul_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="NUL is not allowed"):
        compile_glob("/a\0")


@pytest.mark.parametrize("pattern", ["/" + "*a" * 100 + "*b", "/" + "**/a" * 100 + "**b", "/+(a|?|[a-z])b"])
def test_hopeless_path_is_given_up_quickly(pattern: str) -> None:
    started = time.perf_counter()
    assert not matches(pattern, "/" + "a" * 250)
    assert time.perf_counter() - started < 1


@settings(deadline=None)
@given(st.text().filter(lambda text: "\0" not in text and len(text) < 300))
def test_escaped_path_matches_itself(text: str) -> None:
    path = "/" + "/".join(filter(None, text.split("/")))
    assert matches(escape_glob(path), path)


@settings(deadline=None)
@given(st.text(alphabet="ab/*?[]!-^{},()|@+\\:$.é", max_size=30))
def test_any_text_compiles_or_is_refused(text: str) -> None:
    try:
        compile_glob(text)
    except InvalidRequest:
        return


@pytest.mark.parametrize(
    ("template", "result"),
    [
        ("$1-$2", "x-y"),
        ("${1}1", "x1"),
        ("$0", "/x-y"),
        ("$3", ""),
        ("$$1", "$1"),
        ("$a $", "$a $"),
        ("", ""),
    ],
)
def test_template_takes_captures(template: str, result: str) -> None:
    assert expand_groups(template, ("x", "y"), whole="/x-y") == result


# A model of the grammar: a pattern as a tree, matched by following every possibility.
Tree = tuple[Any, ...]


def render(tree: Tree) -> str:
    match tree:
        case ("row", parts):
            return functools.reduce(beside, map(render, parts), "")
        case ("choice", opening, choices, closing):
            separator = "," if opening == "{" else "|"
            return opening + separator.join(map(render, choices)) + closing
        case (_, text):
            return str(text)
    raise AssertionError(tree)


def beside(left: str, right: str) -> str:
    """Keep what stands alone in the tree from reading as one: `*` and `*`, `?` and `(a)`."""
    joined = left[-1:] in ("*", "?") and right[:1] in ("*", "(")
    return f"{left}{{}}{right}" if joined else left + right


def ends(tree: Tree, path: str, start: int) -> set[int]:
    """Every place where a match that begins at `start` can end."""
    match tree:
        case ("row", parts):
            reached = {start}
            for part in parts:
                reached = set().union(*(ends(part, path, at) for at in reached))
            return reached
        case ("choice", opening, choices, _):
            reached = {start} if opening == "?(" else set()
            return reached.union(*(ends(choice, path, start) for choice in choices))
        case ("repeat", _):
            return set(run_ends(path, start, "ab"))
        case ("star", "*"):
            return {start, *run_ends(path, start, "abc")}
        case ("star", "**"):
            return set(range(start, len(path) + 1))
    return {start + 1} if start < len(path) and path[start] in ONE.get(str(tree[1]), tree[1]) else set()


def run_ends(path: str, start: int, chars: str) -> Iterator[int]:
    for at in range(start, len(path)):
        if path[at] not in chars:
            return
        yield at + 1


ONE = {"?": "abc", "[ab]": "ab", "[!ab]": "c", r"\a": "a"}

leaf = st.one_of(
    st.sampled_from(["a", "b", "c", "/", "?", "[ab]", "[!ab]", r"\a"]).map(lambda text: ("one", text)),
    st.sampled_from(["*", "**"]).map(lambda text: ("star", text)),
    st.just(("repeat", "+(a|[ab])")),
)


def combined(trees: st.SearchStrategy[Tree]) -> st.SearchStrategy[Tree]:
    rows = st.lists(trees, max_size=4).map(lambda parts: ("row", parts))
    brackets = st.sampled_from([("{", "}"), ("(", ")"), ("@(", ")"), ("?(", ")")])
    choices = st.tuples(brackets, st.lists(rows, min_size=1, max_size=3))
    return rows | choices.map(lambda drawn: ("choice", drawn[0][0], drawn[1], drawn[0][1]))


trees = st.recursive(leaf, combined, max_leaves=12)
texts = st.text(alphabet="abc/", max_size=12)


@settings(max_examples=500, deadline=None)
@given(trees, texts)
def test_matcher_agrees_with_the_model(tree: Tree, text: str) -> None:
    pattern, path = "/x" + render(tree) + "x", "/x" + text + "x"
    assume("//" not in pattern)
    expected = len(path) in ends(("row", [("one", "/"), ("one", "x"), tree, ("one", "x")]), path, 0)
    assert matches(pattern, path) == expected


@settings(deadline=None)
@given(trees, texts)
def test_every_match_has_the_prefix_and_the_depth(tree: Tree, text: str) -> None:
    glob, path = compile_glob("/x" + render(tree)), "/x" + text
    assume(glob.match(path) is not None)
    assert path.startswith(glob.literal_prefix)
    assert glob.depth in (None, path.count("/"))
