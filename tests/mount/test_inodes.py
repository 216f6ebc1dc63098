"""Numbers of nodes, without a mount."""

from appliance.mount.inodes import ROOT, Inodes, hash_key
from appliance.mount.nodes import Directory, Root
from appliance.mount.tops import Top
from appliance.names import new_commit_id

COMMIT = new_commit_id()
A, B, C = (Directory(Top("data"), COMMIT, path) for path in ("/a", "/b", "/c"))


def _colliding() -> Inodes:
    return Inodes(Root(0), hash_key=lambda key: 7)


def test_number_is_the_same_in_every_table():
    first, second = Inodes(Root(0)), Inodes(Root(1))
    assert first.number(A) == second.number(A) != first.number(B)


def test_numbers_fit_a_signed_integer_and_are_never_the_root():
    assert 0 <= hash_key(A.key) < 1 << 62
    assert Inodes(Root(0), hash_key=lambda key: 0).number(A) > ROOT


def test_nodes_that_want_one_number_get_two():
    inodes = _colliding()
    numbers = []
    for node in (A, B, C):
        numbers.append(inodes.number(node))
        inodes.hold(numbers[-1], node)
    assert len(set(numbers)) == 3
    assert [inodes.get(number) for number in numbers] == [A, B, C]
    assert [inodes.number(node) for node in (A, B, C)] == numbers


def test_held_node_keeps_its_number_when_the_one_before_it_is_forgotten():
    inodes = _colliding()
    inodes.hold(first := inodes.number(A), A)
    inodes.hold(second := inodes.number(B), B)
    inodes.forget(first, 1)
    assert inodes.get(second) == B
    assert inodes.number(B) == second


def test_node_is_forgotten_with_its_last_lookup():
    inodes = Inodes(Root(0))
    number = inodes.number(A)
    inodes.hold(number, A)
    inodes.hold(number, A)
    inodes.forget(number, 1)
    assert inodes.get(number) == A
    inodes.forget(number, 1)
    assert len(inodes) == 1


def test_root_is_never_forgotten():
    inodes = Inodes(Root(0))
    inodes.forget(ROOT, 1)
    assert inodes.get(ROOT) == Root(0)
