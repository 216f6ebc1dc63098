"""Rows put aside: they come back in order of keys, as often as they are asked for."""

from appliance.store.spool import open_spool


def test_items_come_in_order_of_keys_then_as_they_were_put() -> None:
    with open_spool() as spool:
        shelf = spool.shelve([("b", b"1"), ("a", b"2"), ("", b"3"), ("b", b"4"), ("é", b"5")])
        assert list(shelf) == [("", b"3"), ("a", b"2"), ("b", b"1"), ("b", b"4"), ("é", b"5")]


def test_items_of_one_key_are_found() -> None:
    with open_spool() as spool:
        shelf = spool.shelve([("b", b"1"), ("a", b"2"), ("b", b"3"), ("b", b"4")])
        assert list(shelf.iter_key("b", skip=1)) == [b"3", b"4"]


def test_shelf_is_filled_from_another_that_is_being_read() -> None:
    with open_spool() as spool:
        first = spool.shelve([(str(n), b"") for n in range(300)])
        second = spool.shelve((key, item) for key, item in first)
        assert len(list(zip(first, second, strict=True))) == 300


def test_name_is_new_once_on_each_list() -> None:
    with open_spool() as spool:
        one, other = spool.make_list(), spool.make_list()
        assert [one(b"a"), one(b"b"), one(b"a"), other(b"a")] == [True, True, False, True]
