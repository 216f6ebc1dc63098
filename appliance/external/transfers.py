"""Transfers from and to other people's object stores: what the rest of the package calls."""

from appliance.external.clients import require_offered
from appliance.external.egress import EgressResult, Outgoing, upload_all
from appliance.external.ingress import RemoteObject, download, iter_objects

__all__ = ["EgressResult", "Outgoing", "RemoteObject", "download", "iter_objects", "require_offered", "upload_all"]
