"""Objects in from other people's object stores, web servers, and allowed places of this machine's disk.

Everything blocks; call it in a worker thread. `stop` is asked between pieces; when it says yes, the call ends with
TransferFailed. Messages name the object and the cause in one line, and no secret.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from appliance.errors import TransferFailed
from appliance.external.ahead import read_ahead
from appliance.external.credentials import Profiles
from appliance.external.disk import iter_files, read_file
from appliance.external.failures import never
from appliance.external.objects import changed, find_object, iter_below, read_object
from appliance.external.remote import Piece, Received, RemoteObject
from appliance.external.urls import ObjectUrl
from appliance.external.web import find_page, read_page


def iter_objects(
    url: ObjectUrl, profiles: Profiles, *, recursive: bool, literal: bool = False, roots: Sequence[Path] = ()
) -> Iterator[RemoteObject]:
    """The object at an address, or, recursively, all objects below it as a directory, page by page.

    With `literal`, the address is a prefix of keys instead of a directory. A recursive listing of what is no directory
    gives the object itself. Empty keys that end with a slash are markers of directories, and left out. An empty bucket
    has no objects; else nothing found raises FileNotFound. Raises TransferFailed for a missing bucket and a refused or
    failed request, InvalidPath for a key that can not even be listed; and at once what is wrong with the address.
    """
    if url.provider == "http":
        return find_page(url, recursive=recursive)
    if url.provider == "disk":
        return iter_files(url, roots, recursive=recursive)
    return iter_below(url, profiles, literal=literal) if recursive else find_object(url, profiles)


def download(
    obj: RemoteObject, profiles: Profiles, write: Callable[[Piece], object], *, stop: Callable[[], bool] = never
) -> Received:
    """Hand an object's bytes to `write` in order, in pieces of at most 8 MiB, and return what was said about it.

    A piece is only good until `write` returns; the next one is under way meanwhile.

    Raises TransferFailed if it is not, or does not stay, what the listing said; part of it may have been written then.
    """
    received = Received(etag=obj.etag, modified_ns=obj.modified_ns)
    size_bytes = 0
    for piece in _read(obj, profiles, received):
        if stop():
            raise TransferFailed(f"{obj.url.name(obj.key)}: stopped")
        size_bytes += len(piece)
        write(piece)
    if obj.size_bytes not in (None, size_bytes):
        raise changed(obj)
    received.size_bytes = size_bytes
    return received


def _read(obj: RemoteObject, profiles: Profiles, received: Received) -> Iterator[Piece]:
    if obj.url.provider == "http":
        return read_ahead(read_page(obj, received))
    if obj.url.provider == "disk":
        return read_file(obj, received)
    return read_object(obj, profiles, received)
