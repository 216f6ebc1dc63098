"""Numbers of nodes, and how often the kernel holds each."""

import hashlib
from collections.abc import Callable
from typing import NewType

from appliance.mount.nodes import File, Key, Node, Root

Inode = NewType("Inode", int)

ROOT = Inode(1)
_FIRST = 2
_BITS = 62
_MASK = (1 << _BITS) - 1
_ODD = 0x9E3779B97F4A7C15  # of the golden ratio: rows that follow each other get numbers far apart


def hash_key(key: Key) -> int:
    """Return the number that a node wants, from 0 to 2^62: the same in every run."""
    if len(key) == 2:  # a file: a listing makes a thousand of them in a millisecond or two
        row, modified_ns = key
        assert isinstance(row, int)
        assert isinstance(modified_ns, int)
        return (row * _ODD + modified_ns) & _MASK
    digest = hashlib.blake2b(repr(key).encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> (64 - _BITS)


class _Held:
    """A node that the kernel knows, and how many of our answers it got it from."""

    __slots__ = ("lookups", "node")

    def __init__(self, node: Node) -> None:
        self.node = node
        self.lookups = 0


class Inodes:
    """The nodes that the kernel knows by number. A number means the same node until the kernel forgets it.

    Two nodes that want the same number at the same time both get one: the second the next that is free.
    """

    def __init__(self, root: Root, hash_key: Callable[[Key], int] = hash_key) -> None:
        self._hash_key = hash_key
        self._held = {ROOT: _Held(root)}
        self._displaced: dict[Key, Inode] = {}

    def __len__(self) -> int:
        """How many nodes the kernel holds, with the root."""
        return len(self._held)

    def number(self, node: Node) -> Inode:
        """Return the number of a node, without holding it."""
        if isinstance(node, Root):
            return ROOT
        key = node.key
        if key in self._displaced:
            return self._displaced[key]
        wanted = Inode(self._hash_key(key) + _FIRST)
        while (held := self._held.get(wanted)) is not None and held.node.key != key:
            wanted = Inode(wanted + 1)
        return wanted

    def hold(self, number: Inode, node: Node) -> None:
        """Note that the kernel was given a node by number once more."""
        held = self._held.get(number)
        if held is None:
            held = self._held[number] = _Held(node)
            if number != self._hash_key(node.key) + _FIRST:
                self._displaced[node.key] = number
        held.lookups += 1

    def hold_file(self, file: File) -> Inode:
        """Note that the kernel is given a file once more, and return its number: what it costs to list one."""
        wanted = Inode(((file.row * _ODD + file.modified_ns) & _MASK) + _FIRST)
        held = self._held.get(wanted)
        if (held is not None and held.node != file) or (self._displaced and file.key in self._displaced):
            wanted = self.number(file)
            self.hold(wanted, file)
            return wanted
        if held is None:
            held = self._held[wanted] = _Held(file)
        held.lookups += 1
        return wanted

    def forget(self, number: Inode, lookups: int) -> Node | None:
        """Take back that many of them; after the last one the number may mean something else, and its node is returned."""
        held = self._held[number]
        held.lookups -= lookups
        if held.lookups > 0 or number == ROOT:
            return None
        del self._held[number]
        if self._displaced:
            self._displaced.pop(held.node.key, None)
        return held.node

    def get(self, number: Inode) -> Node:
        """Return the node of a number that the kernel holds."""
        return self._held[number].node

    def __contains__(self, number: Inode) -> bool:
        """Whether the kernel holds it."""
        return number in self._held

    def items(self) -> list[tuple[Inode, Node]]:
        """Return every number with its node."""
        return [(number, held.node) for number, held in self._held.items()]

    def rebind(self, number: Inode, node: Node) -> None:
        """Let a number that the kernel holds mean another node, one that no other number means."""
        held = self._held[number]
        self._displaced.pop(held.node.key, None)
        held.node = node
        self._displaced[node.key] = number
