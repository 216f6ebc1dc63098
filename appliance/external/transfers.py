"""Transfers from and to other people's object stores: what the rest of the package calls."""

from appliance.external.clients import require_remote
from appliance.external.egress import EgressResult, Outgoing, upload_all
from appliance.external.ingress import download, iter_objects
from appliance.external.mirror import delete_others
from appliance.external.remote import Piece, Received, RemoteObject

__all__ = [
    "EgressResult",
    "Outgoing",
    "Piece",
    "Received",
    "RemoteObject",
    "delete_others",
    "download",
    "iter_objects",
    "require_remote",
    "upload_all",
]
