"""Other people's object stores: addresses, credentials, transfers in and out.

Everything here blocks and may be called from any thread. It knows neither the store nor the loop: bytes come in through
a `write` callable and go out of an `open` callable.
"""
