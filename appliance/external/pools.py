"""Connections to servers that no library of theirs is used for: pages of the web, and listings of ours."""

import logging
import ssl

import urllib3
from urllib3.util import Retry, Timeout

# Its warnings about what it tries again quote whole addresses, and an address may have a secret in its query.
logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)


def open_pool(retries: Retry, timeout: Timeout, *, certificate: str | None = None) -> urllib3.PoolManager:
    """Connections that are kept and used again; `certificate` is trusted beside what the system trusts."""
    if certificate is None:
        return urllib3.PoolManager(num_pools=16, maxsize=16, retries=retries, timeout=timeout)
    context = ssl.create_default_context()
    context.load_verify_locations(cadata=certificate)
    return urllib3.PoolManager(num_pools=16, maxsize=16, retries=retries, timeout=timeout, ssl_context=context)
