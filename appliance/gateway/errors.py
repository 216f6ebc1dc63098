"""S3 errors: our error tree and moto's as (code, status), and the XML they are answered with.

Codes and statuses are those of https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html; WriteToOutputBranch
and InvalidFilePath are Pachyderm's own (`src/server/pfs/s3/errors.go`).
"""

import re

from appliance import errors
from appliance.gateway.signature import AuthError


class S3Error(Exception):
    """An answer that is an error. `headers` go with it."""

    def __init__(self, code: str, message: str, status: int | None = None, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status if status is not None else _STATUS.get(code, 400)
        self.headers = headers or {}


_STATUS = {
    "AccessDenied": 403,
    "AccessForbidden": 403,
    "BucketAlreadyExists": 409,
    "BucketAlreadyOwnedByYou": 409,
    "BucketNotEmpty": 409,
    "ExpiredToken": 400,
    "InternalError": 500,
    "InsufficientStorage": 507,
    "InvalidAccessKeyId": 403,
    "InvalidPartNumber": 416,
    "InvalidRange": 416,
    "MethodNotAllowed": 405,
    "MissingContentLength": 411,
    "NoSuchBucket": 404,
    "NoSuchBucketPolicy": 404,
    "NoSuchCORSConfiguration": 404,
    "NoSuchKey": 404,
    "NoSuchLifecycleConfiguration": 404,
    "NoSuchPublicAccessBlockConfiguration": 404,
    "NoSuchTagSet": 404,
    "NoSuchUpload": 404,
    "NoSuchVersion": 404,
    "NoSuchWebsiteConfiguration": 404,
    "NotImplemented": 501,
    "ObjectLockConfigurationNotFoundError": 404,
    "OperationAborted": 409,
    "OwnershipControlsNotFoundError": 404,
    "PreconditionFailed": 412,
    "ReplicationConfigurationNotFoundError": 404,
    "RequestTimeTooSkewed": 403,
    "ServerSideEncryptionConfigurationNotFoundError": 404,
    "ServiceUnavailable": 503,
    "SignatureDoesNotMatch": 403,
}

# The most specific class of an error's ancestry that is here decides. A message of None is the error's own.
TABLE: dict[type[errors.ApplianceError], tuple[str, str | None]] = {
    errors.ApplianceError: ("InternalError", "We encountered an internal error. Please try again."),
    errors.NotFound: ("NoSuchKey", "The specified key does not exist."),
    errors.RepoNotFound: ("NoSuchBucket", "The specified bucket does not exist."),
    errors.BranchNotFound: ("NoSuchBucket", "The specified bucket does not exist."),
    errors.CommitNotFound: ("NoSuchBucket", "The specified bucket does not exist."),
    errors.FileNotFound: ("NoSuchKey", "The specified key does not exist."),
    errors.UploadNotFound: ("NoSuchUpload", "The specified multipart upload does not exist."),
    errors.AlreadyExists: (
        "BucketAlreadyOwnedByYou",
        "The bucket you tried to create already exists, and you own it.",
    ),
    errors.InvalidName: ("InvalidBucketName", "The specified bucket is not valid."),
    errors.InvalidPath: ("InvalidFilePath", None),
    errors.InvalidSpec: ("InvalidArgument", None),
    errors.InvalidRequest: ("InvalidArgument", None),
    errors.PathConflict: (
        "InvalidFilePath",
        "Cannot put to a path that includes an existing, non-directory parent file path",
    ),
    errors.NotWritable: ("AccessDenied", None),
    errors.OutputBranch: ("WriteToOutputBranch", "You cannot write to an output branch"),
    errors.NotAuthorized: ("AccessDenied", None),
    errors.Conflict: ("OperationAborted", None),
    errors.BadDigest: ("BadDigest", "The Content-MD5 or checksum value that you specified did not match what we received."),
    errors.IncompleteBody: (
        "IncompleteBody",
        "You did not provide the number of bytes specified by the Content-Length HTTP header.",
    ),
    errors.Unsupported: ("NotImplemented", "This functionality is not implemented."),
    errors.TransferFailed: ("InternalError", None),
    # 503 is what clients try again by themselves. S3 has no word for a full disk; 507 is HTTP's (RFC 4918, 11.5), and no
    # client spends minutes on trying it again.
    errors.DiskFailed: ("ServiceUnavailable", None),
    errors.OutOfSpace: ("InsufficientStorage", None),
    errors.StoreDamaged: ("InternalError", None),
}


def translate(error: errors.ApplianceError) -> S3Error:
    """Return what S3 would say."""
    if isinstance(error, AuthError):
        return S3Error(error.code, str(error), error.status)
    code, message = next(TABLE[kind] for kind in type(error).__mro__ if kind in TABLE)
    return S3Error(code, message if message is not None else str(error))


def no_such_bucket() -> S3Error:
    """The answer for a bucket that is not there."""
    return S3Error("NoSuchBucket", "The specified bucket does not exist.")


def no_such_version() -> S3Error:
    """The answer for a version that is not there, or not of this object."""
    return S3Error("NoSuchVersion", "The specified version does not exist.")


def not_implemented() -> S3Error:
    """The answer for what is not offered."""
    return S3Error("NotImplemented", "This functionality is not implemented.")


def invalid_argument(message: str) -> S3Error:
    """The answer for a parameter that can not be."""
    return S3Error("InvalidArgument", message)


def precondition_failed() -> S3Error:
    """The answer to a condition that does not hold."""
    return S3Error("PreconditionFailed", "At least one of the pre-conditions you specified did not hold")


def render(error: S3Error, resource: str, request_id: str) -> bytes:
    """Return the XML body of an error."""
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{error.code}</Code><Message>{xml_text(error.message)}</Message>"
        f"<Resource>{xml_text(resource)}</Resource><RequestId>{request_id}</RequestId></Error>"
    )
    return text.encode()


# XML 1.0 has no way to write these (https://www.w3.org/TR/xml/#charsets). S3 writes references to them, over which clients
# stumble, and with one such key over a whole listing; "\ufffd" stands for what can not be shown. Names that have to come
# back as they are need `encoding-type=url`.
_NO_XML = "\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff"
_REFERENCES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#xd;"}  # a parser reads a bare "\r" as "\n"
_SPECIAL = re.compile(f"[&<>\r{_NO_XML}]")
_SPECIAL_IN_MARKUP = re.compile(f"[\r{_NO_XML}]")


def xml_text(text: str) -> str:
    """Return text for an XML element."""
    return _SPECIAL.sub(_show, text)


def well_formed(document: str) -> str:
    """Return XML of moto's, which leaves control characters as they are, as something that can be read."""
    return _SPECIAL_IN_MARKUP.sub(_show, document)


def _show(found: re.Match[str]) -> str:
    return _REFERENCES.get(found[0], "\ufffd")
