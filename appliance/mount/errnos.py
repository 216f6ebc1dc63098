"""What a program gets to see of an error: one table from error class to errno."""

import errno

from appliance import errors
from appliance.mount.nodes import Gone

ERRNOS: dict[type[errors.ApplianceError], int] = {
    errors.ApplianceError: errno.EIO,
    errors.NotFound: errno.ENOENT,
    Gone: errno.ESTALE,
    errors.AlreadyExists: errno.EEXIST,
    errors.InvalidName: errno.EINVAL,
    errors.InvalidPath: errno.EINVAL,
    errors.PathTooLong: errno.ENAMETOOLONG,
    errors.InvalidSpec: errno.EINVAL,
    errors.InvalidRequest: errno.EINVAL,
    errors.PathConflict: errno.ENOTDIR,
    errors.NotWritable: errno.EROFS,
    errors.NotAuthorized: errno.EACCES,
    errors.Conflict: errno.EBUSY,
    errors.BadDigest: errno.EIO,
    errors.IncompleteBody: errno.EIO,
    # Not ENOSYS: the kernel would take it for the whole kind of call and never ask again.
    errors.Unsupported: errno.EOPNOTSUPP,
    errors.TransferFailed: errno.EIO,
    errors.DiskFailed: errno.EIO,
    errors.OutOfSpace: errno.ENOSPC,
    errors.StoreDamaged: errno.EIO,
}


def errno_of(error: errors.ApplianceError) -> int:
    """Return the errno of the nearest class in the table."""
    return next(ERRNOS[kind] for kind in type(error).__mro__ if kind in ERRNOS)
