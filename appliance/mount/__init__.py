"""The FUSE door: `/pfs`, for reading and, where asked for, writing.

    session      mount, ready, unmount as one context manager; the thread it all runs in
    mountpoint   the place: can we mount there, what a dead process left there, taking a mount away
    tops         names at the top, and what people write for a view
    views        further mount points
    guard        the process that unmounts when ours dies
    requests     waiting for what the kernel asks
    operations   one short method for each call of the kernel
    nodes        what stands where below `/pfs` (pure over the store)
    known        what names lead to in directories that were looked into
    jobs         what datums are given, below `/.jobs`
    heads        which commits the kernel takes the names at the top for, and taking that back
    awaited      writes that are answered once the kernel has heard of them
    forgotten    the same of versions of files that were forgotten
    inodes       numbers of nodes, and how often the kernel holds each
    handles      open files and listings
    writing      what the kernel's calls mean in a writable branch
    places       finding things there, and what the kernel is told of them
    trees        each thing there, as it is or with attributes and bytes of its own
    naming       making, linking, removing and moving
    attributes   changing modes, owners, times and sizes
    permissions  who may do what (pure)
    reading      files that are open for reading while others write to them
    staged       what was written or changed and is not committed, on disk
    committing   what is staged becomes a commit
    following    what a commit keeps of symbolic links
    turns        who waits for that
    autocommit   a commit soon after each change
    errnos       the answer for each kind of error

`/pfs/<repo>` is what readers of `master` see and follows it; `/pfs/<repo>@<branch>`, `…@<commit>` and `…@<branch>^` are
there by name without being listed. Nothing here is imported by the rest of the appliance except `session`, and pyfuse3
only once somebody mounts. The process that serves the mount must not wait for it in the thread that serves, nor map a
file of it into memory anywhere: a page fault holds the interpreter lock that the answer needs.
"""
