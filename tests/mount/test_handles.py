"""Open files and listings, without a mount."""

from pathlib import Path

import pytest

from appliance.errors import StoreDamaged
from appliance.mount.handles import Listing, OpenFile
from appliance.mount.inodes import ROOT
from appliance.store.blobs import Extent


def _extents(directory: Path, count: int) -> list[Extent]:
    extents = []
    for number in range(count):
        file = directory / str(number)
        file.write_bytes(b"-%03d-" % number)
        extents.append(Extent(1, 3, None, file))
    return extents


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_file_of_very_many_blobs_needs_few_descriptors(tmp_path):
    before = _descriptors()
    opened = OpenFile(_extents(tmp_path, 100))
    assert opened.read(0, 1000) == b"".join(b"%03d" % number for number in range(100))
    assert _descriptors() - before <= 16
    assert opened.read(149, 5) == b"90500"
    opened.close()
    assert _descriptors() == before


def test_open_file_outlives_the_names_of_its_blobs(tmp_path):
    extents = _extents(tmp_path, 3)
    opened = OpenFile(extents)
    for extent in extents:
        assert extent.file is not None
        extent.file.unlink()
    assert opened.read(0, 100) == b"000001002"
    opened.close()


def test_missing_blob_is_damage_and_leaves_nothing_open(tmp_path):
    extents = _extents(tmp_path, 3)
    (tmp_path / "2").unlink()
    before = _descriptors()
    with pytest.raises(StoreDamaged, match="missing"):
        OpenFile(extents)
    assert _descriptors() == before


def test_blob_that_is_too_short_is_damage(tmp_path):
    extents = _extents(tmp_path, 1)
    (tmp_path / "0").write_bytes(b"-0")
    opened = OpenFile(extents)
    with pytest.raises(StoreDamaged, match="shorter"):
        opened.read(0, 3)
    opened.close()


def test_listing_knows_the_places_of_its_last_reply_only():
    listing = Listing(ROOT)
    for offset, marks in ((0, "abc"), (3, "de")):
        listing.begin(offset)
        for mark in marks:
            listing.add(mark)
    assert [listing.find_mark(offset) for offset in (0, 2, 4, 5, 6)] == ["", None, "d", "e", None]
    assert listing.next_offset == 6
