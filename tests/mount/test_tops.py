"""What a view is to show, as people write it. Texts are Pachyderm's (`parseRepoOpts`, `validateOptions`)."""

import pytest

from appliance.errors import InvalidName, InvalidRequest
from appliance.mount.tops import Top, parse_spec, parse_specs
from appliance.names import CommitId

COMMIT = CommitId("5defb7fdc51f4404bac7aa936017d898")


@pytest.mark.parametrize(
    ("text", "top"),
    [
        ("repo", Top("repo", "master")),
        ("repo+r", Top("repo", "master")),
        ("repo+w", Top("repo", "master", writable=True)),
        ("repo+rw", Top("repo", "master", writable=True)),
        ("repo@dev+w", Top("repo", "dev", writable=True)),
        ("repo@master^", Top("repo", "master^")),
        (f"repo@dev={COMMIT}", Top("repo", COMMIT)),
        (f"repo@{COMMIT}:/dir/foo+r", Top("repo", COMMIT, path="/dir/foo")),
        ("repo@dev:dir/", Top("repo", "dev", path="/dir")),
        ("repo:/", Top("repo", "master")),
    ],
)
def test_spec_is_parsed(text, top):
    assert parse_spec(text) == top


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("repo+x", "invalid format \"repo+x\": unrecognized mode: 'x'"),
        ("repo+rx", "invalid format \"repo+rx\": unrecognized mode: 'x'"),
        ("repo+", "invalid format \"repo+\": unrecognized mode: ''"),
        ("@dev", 'invalid format "@dev": repo cannot be empty'),
        ("repo@master^+w", "can't mount commit repo@master^ as repo in Write mode (mount a branch instead)"),
        (f"repo@{COMMIT}+rw", f"can't mount commit repo@{COMMIT} as repo in Write mode (mount a branch instead)"),
        ("repo:/dir+w", "can't mount path /dir of repo@master as repo in Write mode (mount a branch instead)"),
    ],
)
def test_wrong_spec_is_refused(text, error):
    with pytest.raises(InvalidRequest) as raised:
        parse_spec(text)
    assert str(raised.value) == error


def test_repo_that_can_not_exist_is_refused():
    with pytest.raises(InvalidName):
        parse_spec("re po")


def test_one_name_is_taken_once():
    with pytest.raises(InvalidRequest, match="mount at 'repo' already in use"):
        parse_specs(["repo", "other", "repo@dev"])


def test_a_path_is_visible_with_what_is_below_and_above_it():
    top = Top("repo", path="/dir/foo")
    assert [path for path in ("/", "/dir", "/dir/foo", "/dir/foo/x", "/dir/foobar", "/other") if top.is_visible(path)] == [
        "/",
        "/dir",
        "/dir/foo",
        "/dir/foo/x",
    ]
