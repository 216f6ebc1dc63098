"""Files of this machine as sources."""

import os
from pathlib import Path

import pytest

from appliance.errors import FileNotFound, InvalidRequest, TransferFailed, Unsupported
from appliance.external.credentials import Profiles
from appliance.external.transfers import RemoteObject, download, iter_objects
from appliance.external.urls import parse_url


@pytest.fixture
def root(tmp_path: Path) -> Path:
    directory = tmp_path / "allowed"
    for name in ("dir/a b%.csv", "dir/sub/y", "dir2/x"):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(name)
    return directory


def listed(path: Path, profiles: Profiles, root: Path, *, recursive: bool = True) -> list[RemoteObject]:
    return list(iter_objects(parse_url(path.as_uri()), profiles, recursive=recursive, roots=(root,)))


def read(obj: RemoteObject, profiles: Profiles) -> bytes:
    body = bytearray()
    download(obj, profiles, body.extend)
    return bytes(body)


def test_directory_below_the_root_is_read(root: Path, profiles: Profiles) -> None:
    found = {obj.relative_path: read(obj, profiles) for obj in listed(root / "dir", profiles, root)}
    assert found == {"a b%.csv": b"dir/a b%.csv", "sub/y": b"dir/sub/y"}


def test_single_file_is_read(root: Path, profiles: Profiles) -> None:
    [obj] = listed(root / "dir2" / "x", profiles, root, recursive=False)
    assert (obj.relative_path, read(obj, profiles)) == ("x", b"dir2/x")


def test_nothing_is_read_where_nothing_is_allowed(root: Path, profiles: Profiles) -> None:
    with pytest.raises(Unsupported, match="serve --allow-files"):
        iter_objects(parse_url((root / "dir2/x").as_uri()), profiles, recursive=False)


@pytest.mark.parametrize("path", ["/etc/passwd", "{root}/../secret", "{root}2/x"])
def test_nothing_outside_the_root_is_read(root: Path, profiles: Profiles, path: str) -> None:
    (root.parent / "secret").write_text("secret")
    with pytest.raises(InvalidRequest, match="is not below what"):
        listed(Path(path.format(root=root)), profiles, root, recursive=False)


def test_link_out_of_the_root_is_not_followed(root: Path, profiles: Profiles) -> None:
    (root.parent / "secret").write_text("secret")
    (root / "dir" / "link").symlink_to(root.parent / "secret")
    [obj] = [obj for obj in listed(root / "dir", profiles, root) if obj.relative_path == "link"]
    with pytest.raises(InvalidRequest, match="is not below"):
        read(obj, profiles)


def test_file_that_changes_after_the_listing_is_refused(root: Path, profiles: Profiles) -> None:
    [obj] = listed(root / "dir2", profiles, root)
    os.utime(root / "dir2" / "x", ns=(1, 1))
    with pytest.raises(TransferFailed, match="changed while it was read"):
        read(obj, profiles)


def test_missing_file_and_directory_without_recursion(root: Path, profiles: Profiles) -> None:
    with pytest.raises(FileNotFound, match="no such file"):
        listed(root / "none", profiles, root)
    with pytest.raises(FileNotFound, match=r"is a directory.*-r"):
        listed(root / "dir", profiles, root, recursive=False)
