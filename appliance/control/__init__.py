"""The local socket between commands and a running appliance: HTTP with JSON over a Unix socket in the data directory.

    calls     what can be asked, as typed methods over the open appliance
    requests  what can be changed, alone or in a transaction; transactions
    streams   what has any number of answers, over one snapshot; describing: what they tell
    follow    answers that come as things happen
    debugging datums laid out to be looked at
    upkeep    what takes long and says how far it is
    lines     how answers of many lines are sent
    files     putting and getting files: bytes in, bytes out, URLs
    server    the socket, and the life of the process behind `serve`
    client    the other end, for the command line; imports nothing heavy

`POST /v1/<call>` takes an object of arguments and answers `{"result": …}`, or many of them, a line each (`lines`). Some
calls carry bytes instead: `PUT /v1/file`, `GET /v1/file`, `GET /v1/export`, `PUT /v1/import`. An error
answers `{"error": message, "kind": class, "exit_status": n}`.
"""
