"""`next datum`, for the command of a pipeline with `datum_batching`."""

import os
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, Request, build_opener

import click

from appliance.cli import verbs
from appliance.errors import ApplianceError

_ADDRESS = "APPLIANCE_NEXT_DATUM"
_DIRECTLY = build_opener(ProxyHandler({}))  # it is on this machine, whatever proxy user code has for others


@verbs.next_.command("datum")
@click.option("--error", default="", metavar="TEXT", help="Say that the datum in hand failed, and why.")
def next_datum(error: str) -> None:
    """Wait until the next datum is there, below /pfs and with its variables in /pfs/.env.

    The one in hand is done then. Where there are no more the process is stopped.
    """
    address = os.environ.get(_ADDRESS)
    if address is None:
        raise ApplianceError("there are no datums to ask for here: this is for the command of a pipeline with datum_batching")
    try:
        with _DIRECTLY.open(Request(address, data=error.encode(), method="POST")) as answer:
            answer.read()
    except HTTPError as refused:
        raise ApplianceError(refused.read().decode(errors="replace").strip()) from None
    except (URLError, OSError) as failed:
        raise ApplianceError(f"the next datum can not be had: {failed}") from None
