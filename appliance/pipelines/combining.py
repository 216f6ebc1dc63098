"""How the files of several inputs become the rows of datums: cross, union, join and group, in any nesting.

Rows are streamed. What has to be looked at more than once, or in another order, is put aside in a spool, so that neither
a large repo nor a key that half of all files have takes memory. The order follows only from the input and that of its leaves.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import groupby, islice
from operator import itemgetter

import msgspec

from appliance.pipelines.datums import Datum, DatumInput, Match, Row, make_datum, make_input
from appliance.pipelines.spec import Input, PfsInput, sort_input
from appliance.store.spool import Shelf, Spool

_Source = Callable[[PfsInput], Iterable[DatumInput]]

# Of what is under one key so many rows are held in memory; the rest is read again each time it is asked for.
_HELD = 1000

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[DatumInput, ...]).decode


def iter_datums(
    tree: Input,
    matches: Callable[[PfsInput], Iterable[Match]],
    commits: Mapping[tuple[str, str], str],
    spool: Spool,
    *,
    salt: str,
) -> Iterator[Datum]:
    """Yield the datums of an input, in an order that follows only from the input and the order of `matches`.

    `matches` answers what a leaf's glob matches in its commit, in order of paths. `commits` has the commit of every
    input by its repo and branch; one that is missing matches nothing. The spool has to be open until the last is taken.
    """

    def source(leaf: PfsInput) -> Iterator[DatumInput]:
        if commit := commits.get((leaf.source, leaf.branch)):
            yield from (make_input(leaf, commit, match) for match in matches(leaf))

    return (make_datum(row, salt) for row in _rows(sort_input(tree), source, spool))


def _rows(tree: Input, source: _Source, spool: Spool) -> Iterator[Row]:
    if tree.pfs or tree.cron:
        leaf = tree.pfs or (tree.cron and tree.cron.as_pfs())
        return ((item,) for item in source(leaf)) if leaf else iter(())
    if tree.union:
        return _union([_rows(member, source, spool) for member in tree.union], spool)
    if tree.join:
        return _join([_shelve(member, source, spool, _join_key) for member in tree.join])
    if tree.group:
        return _group([_shelve(member, source, spool, _group_key) for member in tree.group])
    return _cross([_rows(member, source, spool) for member in _flatten(tree)], spool)


def _flatten(tree: Input) -> Iterator[Input]:
    """The members of a cross, those of a cross inside it in its place: the same rows, and no inner product to put aside."""
    for member in tree.cross:
        yield from _flatten(member) if member.cross else (member,)


def _join_key(item: DatumInput) -> str:
    return item.join_on


def _group_key(item: DatumInput) -> str:
    return item.group_by


@dataclass(frozen=True, slots=True)
class _Column:
    """What one member has under one key, as often as it is asked for: `held`, and behind it what `rest` reads."""

    held: Sequence[Row] = ()
    rest: Callable[[], Iterator[Row]] | None = None

    def __iter__(self) -> Iterator[Row]:
        yield from self.held
        if self.rest is not None:
            yield from self.rest()

    def __bool__(self) -> bool:
        return bool(self.held) or next(iter(self), None) is not None

    def only_outer(self) -> "_Column":
        """Return those that a join keeps without a counterpart."""
        rest = self.rest
        held = [row for row in self.held if row[0].outer_join]
        return _Column(held, rest and (lambda: (row for row in rest() if row[0].outer_join)))


def _union(members: Iterable[Iterator[Row]], spool: Spool) -> Iterator[Row]:
    """A row that several members have is one datum: its id would be the same."""
    return _distinct((row for member in members for row in member), spool)


def _cross(factors: Sequence[Iterator[Row]], spool: Spool) -> Iterator[Row]:
    first, *others = factors
    columns = [column for factor in others for column in _one_column(factor, spool)]
    return _product([first, *columns]) if len(columns) == len(others) else iter(())


def _one_column(rows: Iterator[Row], spool: Spool) -> Iterator[_Column]:
    """Yield a factor of a cross, to be read for each row of those before it; nothing if it is empty."""
    return (column for _, column in _iter_columns(spool.shelve(("", _encode(row)) for row in rows)))


def _product(columns: Sequence[Iterable[Row]]) -> Iterator[Row]:
    """Yield the product, the last column moving fastest, without holding any. The first is read once."""
    *before, last = columns
    if not before:
        yield from last
        return
    for row in _product(before):
        for other in last:
            yield row + other


def _join(members: Sequence[Shelf]) -> Iterator[Row]:
    """For every key the cross product of what the members have; where one has nothing, of the outer ones that have some."""
    for columns in _iter_keys(members):
        if not all(columns):
            columns = [outer for column in columns if (outer := column.only_outer())]
        if columns:
            yield from _product(columns)


def _group(members: Sequence[Shelf]) -> Iterator[Row]:
    for columns in _iter_keys(members):
        yield tuple(row[0] for column in columns for row in column)


def _shelve(member: Input, source: _Source, spool: Spool, key: Callable[[DatumInput], str]) -> Shelf:
    """Put the files of a member aside, each once: a combination in a join or group is taken apart, as in Pachyderm."""
    items = (item for row in _rows(member, source, spool) for item in row)
    if member.pfs or member.cron:  # whose files are all different
        return spool.shelve((key(item), _encode((item,))) for item in items)
    distinct = _distinct(((item,) for item in items), spool)
    return spool.shelve((key(row[0]), _encode(row)) for row in distinct)


def _distinct(rows: Iterable[Row], spool: Spool) -> Iterator[Row]:
    is_new = spool.make_list()
    return (row for row in rows if is_new(blake2b(_encode(row), digest_size=32).digest()))


def _iter_keys(members: Sequence[Shelf]) -> Iterator[list[_Column]]:
    """Yield what the members have under each key, in order of keys; an empty column where one has nothing."""
    streams = [_iter_columns(shelf) for shelf in members]
    heads = [next(stream, None) for stream in streams]
    while keys := [head[0] for head in heads if head is not None]:
        key = min(keys)
        here = [head is not None and head[0] == key for head in heads]
        yield [head[1] if head is not None and found else _Column() for head, found in zip(heads, here, strict=True)]
        heads = [next(stream, None) if found else head for head, found, stream in zip(heads, here, streams, strict=True)]


def _iter_columns(shelf: Shelf) -> Iterator[tuple[str, _Column]]:
    for key, items in groupby(shelf, key=itemgetter(0)):
        held = [_decode(item) for _, item in islice(items, _HELD)]
        more = next(items, None) is not None
        yield key, _Column(held, _rest(shelf, key) if more else None)


def _rest(shelf: Shelf, key: str) -> Callable[[], Iterator[Row]]:
    return lambda: map(_decode, shelf.iter_key(key, skip=_HELD))
