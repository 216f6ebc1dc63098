"""Pipelines: what a spec means, and the jobs and processes that carry it out.

    spec         a package: parse and validate a pipeline spec (pure)
    datums       what a datum is, what identifies it, what its code is told (pure)
    combining    how the files of several inputs become datums
    planner      inputs and globs to datums, from what is in the store
    listing      the datums of a job, into the store
    scheduler    plan(): what should run now (pure); and the loop around it
    runner       one job from claim to finished commit
    worker       one datum and its tries
    batching     one process for many datums, one after the other
    slots        how many commands run at once, and in which order
    place        where a datum runs: its /pfs, its environment, its sidecar
    restarting   tries that are to begin anew
    doors        what jobs are handed from outside
    scratch      directories that are gone afterwards
    secrets      a transform's secrets as variables and files
    openings     which files of its inputs user code opens
    views        a datum's inputs as files and directories to bind
    joblog       what user code prints, on its way to the store
    outputs      what a datum left in /pfs/out, into the store
    environment  the variables user code sees
    process      starting and stopping processes
    link         the socket to the launcher, whose processes they are
    streams      what they read and write, line by line
    container    the same in containers of podman or docker

The database is the queue: waking twice, or after a crash, gives the same plan. Doors are handed in by `app`.
"""
