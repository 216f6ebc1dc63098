"""Tokens and roles in the store."""

import time

import pytest
from store.helpers import create_repos, fork

from appliance.errors import Conflict, InvalidRequest, NotFound, RepoNotFound
from appliance.store import Store, auth, repos
from appliance.store.auth import Level
from appliance.store.settings import Settings, get_settings, set_settings

ROOT = "root-token-0123456789"


@pytest.fixture
def active(store: Store) -> Store:
    create_repos(store, "data", "other")
    store.write(lambda db: auth.activate(db, ROOT))
    return store


def level(store: Store, subject: str | None, repo: str = "data") -> Level:
    with store.snapshot() as db:
        return auth.get_level(db, subject, repo)


def test_root_token_is_made_once(store: Store) -> None:
    token = store.write(auth.activate)
    assert len(token) == 32
    with store.snapshot() as db:
        assert auth.find_holder(db, token) == auth.Holder(auth.ROOT, None)
    with pytest.raises(Conflict, match="already enabled"):
        store.write(auth.activate)


def test_no_token_is_kept(active: Store) -> None:
    token = active.write(lambda db: auth.make_token(db, "robot:bob"))
    written = b"".join(path.read_bytes() for path in active.directory.rglob("*") if path.is_file())
    assert token.encode() not in written
    assert ROOT.encode() not in written
    assert b"robot:bob" in written


def test_nothing_works_before_it_is_on(store: Store) -> None:
    create_repos(store, "data")
    for write in (
        auth.deactivate,
        lambda db: auth.make_token(db, "user:a"),
        lambda db: auth.set_roles(db, "data", "user:a", ["repoReader"]),
        lambda db: auth.revoke_token(db, ROOT),
    ):
        with pytest.raises(InvalidRequest, match="the auth service is not activated"):
            store.write(write)


def test_everything_is_forgotten_when_it_is_turned_off(active: Store) -> None:
    active.write(lambda db: auth.set_roles(db, "data", "user:a", ["repoOwner"]))
    active.write(auth.deactivate)
    active.write(lambda db: auth.activate(db, "another-root-token"))
    assert level(active, "user:a") == Level.NONE
    with active.snapshot() as db:
        assert auth.find_holder(db, ROOT) is None


def test_root_token_is_rotated(active: Store) -> None:
    new = active.write(auth.rotate_root_token)
    with active.snapshot() as db:
        assert auth.find_holder(db, ROOT) is None
        assert auth.find_holder(db, new) == auth.Holder(auth.ROOT, None)


@pytest.mark.parametrize(
    "token", ["short", "with space in it ", "a" * 129, "slash/slash/slash/slash", "ümlaut-ümlaut-ümlaut"]
)
def test_token_that_no_client_takes_is_refused(active: Store, token: str) -> None:
    with pytest.raises(InvalidRequest):
        active.write(lambda db: auth.make_token(db, "user:a", token=token))


def test_token_is_one_persons(active: Store) -> None:
    with pytest.raises(Conflict):
        active.write(lambda db: auth.make_token(db, "user:a", token=ROOT))


@pytest.mark.parametrize("subject", ["a", "user:", "user:a b", "nobody:a", "", "user:" + "a" * 129])
def test_subject_has_a_kind_and_a_name(active: Store, subject: str) -> None:
    with pytest.raises(InvalidRequest, match="invalid subject"):
        active.write(lambda db: auth.make_token(db, subject))


def test_token_expires(active: Store) -> None:
    token = active.write(lambda db: auth.make_token(db, "user:a", ttl_s=60))
    with active.snapshot() as db:
        holder = auth.find_holder(db, token)
    assert holder is not None
    assert not holder.is_expired(time.time_ns())
    assert holder.is_expired(time.time_ns() + 61 * 10**9)


def test_token_is_revoked_alone_or_with_the_others_of_its_subject(active: Store) -> None:
    tokens = [active.write(lambda db: auth.make_token(db, "user:a")) for _ in range(3)]
    active.write(lambda db: auth.revoke_token(db, tokens[0]))
    with pytest.raises(NotFound):
        active.write(lambda db: auth.revoke_token(db, tokens[0]))
    assert active.write(lambda db: auth.revoke_subject(db, "user:a")) == 2
    assert active.write(lambda db: auth.revoke_subject(db, "user:a")) == 0
    with active.snapshot() as db:
        assert [auth.find_holder(db, token) for token in tokens] == [None] * 3


def test_root_can_not_lock_itself_out(active: Store) -> None:
    for write in (
        lambda db: auth.revoke_token(db, ROOT),
        lambda db: auth.revoke_subject(db, auth.ROOT),
        lambda db: auth.set_roles(db, None, auth.ROOT, []),
    ):
        with pytest.raises(Conflict):
            active.write(write)
    assert level(active, auth.ROOT) == Level.OWN


def test_roles_are_levels(active: Store) -> None:
    for role, expected in (("repoReader", Level.READ), ("repoWriter", Level.WRITE), ("repoOwner", Level.OWN)):
        active.write(lambda db, role=role: auth.set_roles(db, "data", "user:a", [role]))
        assert (level(active, "user:a"), level(active, "user:a", "other")) == (expected, Level.NONE)
    active.write(lambda db: auth.set_roles(db, "data", "user:a", []))
    assert level(active, "user:a") == level(active, None) == Level.NONE


def test_highest_role_counts_wherever_it_comes_from(active: Store) -> None:
    active.write(lambda db: auth.set_roles(db, "data", "user:a", ["repoReader", "repoWriter"]))
    active.write(lambda db: auth.set_roles(db, None, auth.EVERYBODY, ["repoReader"]))
    assert (level(active, "user:a"), level(active, "user:b")) == (Level.WRITE, Level.READ)
    active.write(lambda db: auth.set_roles(db, None, "user:b", ["clusterAdmin"]))
    assert level(active, "user:b") == Level.OWN
    with active.snapshot() as db:
        assert auth.list_own_roles(db, "data", "user:a") == ["repoReader", "repoWriter"]
        assert auth.list_roles(db, "data") == {"user:a": ["repoReader", "repoWriter"]}


def test_readable_repos_are_those_with_a_role(active: Store) -> None:
    active.write(lambda db: auth.set_roles(db, "data", "user:a", ["repoReader"]))
    with active.snapshot() as db:
        assert auth.list_readable(db, "user:a") == {"data"}
        assert auth.list_readable(db, "user:b") == auth.list_readable(db, None) == set()
        assert auth.list_readable(db, auth.ROOT) is None


def test_role_that_is_none_there_is_refused(active: Store) -> None:
    with pytest.raises(InvalidRequest, match="clusterAdmin is not a role on a repo"):
        active.write(lambda db: auth.set_roles(db, "data", "user:a", ["clusterAdmin"]))
    with pytest.raises(InvalidRequest, match="projectOwner is not a role on the cluster"):
        active.write(lambda db: auth.set_roles(db, None, "user:a", ["projectOwner"]))
    with pytest.raises(RepoNotFound):
        active.write(lambda db: auth.set_roles(db, "none", "user:a", ["repoReader"]))


def test_roles_go_with_the_repo(active: Store) -> None:
    active.write(lambda db: auth.set_roles(db, "data", "user:a", ["repoOwner"]))
    active.write(lambda db: repos.delete_repo(db, "data"))
    create_repos(active, "data")
    assert level(active, "user:a") == Level.NONE


def test_permission_is_found_by_its_roles() -> None:
    assert auth.roles_for_permission("REPO_WRITE") == ["clusterAdmin", "repoWriter", "repoOwner"]
    with pytest.raises(InvalidRequest):
        auth.roles_for_permission("REPO_FLY")


def test_settings_of_a_branch_are_its_own_and_go_with_it(store: Store) -> None:
    create_repos(store, "data")
    fork(store, "data", "dev")
    told = Settings("public-read", [{"AllowedMethod": ["GET"], "AllowedOrigin": ["*"]}], [("a", "b")])
    store.write(lambda db: set_settings(db, "data", "dev", told))
    with store.snapshot() as db:
        assert get_settings(db, "data", "dev") == told
        assert get_settings(db, "data", "master") == get_settings(db, "none", "master") == Settings()
    store.write(lambda db: repos.delete_branch(db, "data", "dev"))
    fork(store, "data", "dev")
    with store.snapshot() as db:
        assert get_settings(db, "data", "dev") == Settings()
