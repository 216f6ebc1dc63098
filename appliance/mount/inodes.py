"""Numbers of nodes, and how often the kernel holds each."""

import hashlib
from collections.abc import Callable
from typing import NewType

from appliance.mount.nodes import Key, Node, Root
from appliance.store.pages import Version as File

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


class Inodes:
    """The nodes that the kernel knows by number. A number means the same node until the kernel forgets it.

    Two nodes that want the same number at the same time both get one: the second the next that is free.
    """

    def __init__(self, root: Root, hash_key: Callable[[Key], int] = hash_key) -> None:
        self._hash_key = hash_key
        self._nodes: dict[Inode, Node] = {ROOT: root}
        self._lookups = {ROOT: 0}
        self._displaced: dict[Key, Inode] = {}

    def __len__(self) -> int:
        """How many nodes the kernel holds, with the root."""
        return len(self._nodes)

    def number(self, node: Node) -> Inode:
        """Return the number of a node, without holding it."""
        if isinstance(node, Root):
            return ROOT
        key = node.key
        if key in self._displaced:
            return self._displaced[key]
        wanted = Inode(self._hash_key(key) + _FIRST)
        while (held := self._nodes.get(wanted)) is not None and held.key != key:
            wanted = Inode(wanted + 1)
        return wanted

    def hold(self, number: Inode, node: Node) -> None:
        """Note that the kernel was given a node by number once more."""
        if number not in self._nodes:
            self._nodes[number], self._lookups[number] = node, 0
            if number != self._hash_key(node.key) + _FIRST:
                self._displaced[node.key] = number
        self._nodes[number] = node  # the same, but it may know more
        self._lookups[number] += 1

    def hold_file(self, file: File) -> Inode:
        """Note that the kernel is given a file once more, and return its number: what it costs to list one."""
        wanted = Inode(((file.row * _ODD + file.modified_ns) & _MASK) + _FIRST)
        held = self._nodes.get(wanted)
        if (held is not None and held != file) or (self._displaced and file.key in self._displaced):
            wanted = self.number(file)
            self.hold(wanted, file)
        elif held is None:
            self._nodes[wanted], self._lookups[wanted] = file, 1
        else:
            self._lookups[wanted] += 1
        return wanted

    def forget(self, number: Inode, lookups: int) -> Node | None:
        """Take back that many of them; after the last one the number may mean something else, and its node is returned."""
        left = self._lookups[number] = self._lookups[number] - lookups
        if left > 0 or number == ROOT:
            return None
        del self._lookups[number]
        node = self._nodes.pop(number)
        if self._displaced:
            self._displaced.pop(node.key, None)
        return node

    def get(self, number: Inode) -> Node:
        """Return the node of a number that the kernel holds."""
        return self._nodes[number]

    def __contains__(self, number: Inode) -> bool:
        """Whether the kernel holds it."""
        return number in self._nodes

    def items(self) -> list[tuple[Inode, Node]]:
        """Return every number with its node."""
        return list(self._nodes.items())

    def rebind(self, number: Inode, node: Node) -> None:
        """Let a number that the kernel holds mean another node, one that no other number means."""
        self._displaced.pop(self._nodes[number].key, None)
        self._nodes[number] = node
        self._displaced[node.key] = number
