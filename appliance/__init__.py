"""The appliance: versioned repos behind S3, `/pfs` and pipelines, in one process.

Map of the package; imports point downwards only:

    cli          click commands, one file for each noun: parse, call, print
    client       the Python API: asks a running appliance, as the command line does
    control      the local socket between the command line and a running appliance
    app          the only place that wires the parts together
    gateway      S3 door: every branch and commit is a bucket; a job's sidecar is the same with other buckets
    mount        FUSE door: `/pfs`
    pipelines    specs, datums, jobs and the processes that run them
    launching    the small process that forks user code into a /pfs of its own; imports nothing else
    external     other people's object stores: ingress and egress
    clock        what is due by the clock; expiry, upkeep: what is forgotten and collected
    store        what is kept: SQLite and blob files
    httpd        HTTP/1.1 over trio sockets; knows no S3
    config       the only reader of the environment, files and options
    names        grammar of repo, branch, commit, path and bucket names (pure)
    errors       the error tree (pure)
"""

__version__ = "0.1.0"
