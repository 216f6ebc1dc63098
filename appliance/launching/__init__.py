"""The small process that starts user code, each run with a /pfs of its own.

Forking a large process with many threads is slow and unsafe, so the appliance starts this one once and asks it for every
run. It is started by the path of this package with `python -I -S` (`__main__`): it imports a few standard modules, nothing
else of the appliance, and nothing slow to import, so paths are strings here. It has one thread; a forked child may
therefore do as it likes until it executes user code.

    kernel      calls that Python does not have: mounts, namespaces, prctl
    pfs         a private /pfs and what else is bound
    isolation   namespaces of a run's own, where they are allowed
    usercode    a forked child on its way to user code
    processes   children, groups and signals
    runs        one run from its fork until nothing of it is left
    launcher    all runs, and the loop that serves the socket
    entering    one command on our own terminal
    main        what the arguments ask for

Messages are a length (four bytes, big endian) and JSON, over the socket that is standard input:

    to the launcher     {"op": "run", "run": 7, "argv", "env", "cwd", "user", "private_pfs", "binds",
                         "outside", "variables"}
                        and with its length the descriptors for standard input, output and error
                        {"op": "signal", "run": 7, "signal": 15}
    from the launcher   {"run": 7, "pid": 4711}                         the process, also its group; before user code
                        {"run": 7, "status": 0, "signal": null}         the end; or status null and a signal
                        {"run": 7, "failed": "cannot execute x: ..."}   the end, instead

A run has ended when nothing of it lives. Where PID namespaces are allowed each run has one, whose first process is a fork
of this one: the kernel kills the rest when that ends. Elsewhere, and without a private /pfs, a run is its leader, its process
group, and whatever left the group but is still in its mount namespace; for that the launcher is the one to whom orphans fall.
When its socket ends, because the appliance stopped or was killed, it kills everything it ever started and exits.
"""
