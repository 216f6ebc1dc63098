"""Everything that can go wrong for a reason the caller can understand.

    ApplianceError                      the root; a bare one is our own fault
    ├── NotFound
    │   ├── RepoNotFound, BranchNotFound, CommitNotFound
    │   ├── FileNotFound
    │   ├── UploadNotFound
    │   └── PipelineNotFound, JobNotFound, DatumNotFound
    ├── AlreadyExists
    ├── InvalidName                     a repo, branch, pipeline or bucket name
    ├── InvalidPath
    │   └── PathTooLong                 for anything that keeps paths
    ├── InvalidSpec                     a pipeline spec
    ├── InvalidRequest                  an argument that makes no sense
    ├── PathConflict                    a file where a directory is, or the reverse
    ├── NotWritable                     a finished commit, an input of a job
    │   └── OutputBranch                only its pipeline writes there
    ├── NotAuthorized                   somebody without the role for it
    ├── Conflict                        a head that moved, a repo in use
    ├── BadDigest, IncompleteBody       bytes that are not what their sender announced
    ├── Unsupported
    ├── TransferFailed                  somebody else's object store refused or vanished
    ├── DiskFailed                      the disk of the data directory fails, is read-only, or takes no more open files
    │   └── OutOfSpace                  it is full, or has no more inodes
    └── StoreDamaged                    a row without its blob, a digest that differs

An error is raised where the fact is known, and its message names the things involved in Pachyderm's words where it has
some. A class of its own exists only where a door or a caller treats it differently. Each door has one table from these
classes to its own codes; a test walks all subclasses and finds each in every table.
"""


class ApplianceError(Exception):
    """Root of the tree. `exit_status` is what the command line returns for it."""

    exit_status = 1


class NotFound(ApplianceError):
    """Something named does not exist."""


class RepoNotFound(NotFound):
    """No such repo."""


class BranchNotFound(NotFound):
    """No such branch in its repo."""


class CommitNotFound(NotFound):
    """No such commit, or an ancestor too far back."""


class FileNotFound(NotFound):
    """No such file in a commit."""


class UploadNotFound(NotFound):
    """No such multipart upload."""


class PipelineNotFound(NotFound):
    """No such pipeline."""


class JobNotFound(NotFound):
    """No such job."""


class DatumNotFound(NotFound):
    """No such datum in its job."""


class AlreadyExists(ApplianceError):
    """The name is taken."""


class InvalidName(ApplianceError):
    """A name breaks the grammar of its kind."""

    exit_status = 2


class InvalidPath(ApplianceError):
    """A path that no file can have."""

    exit_status = 2


class PathTooLong(InvalidPath):
    """A path, or a name in one, that is longer than can be kept."""


class InvalidSpec(ApplianceError):
    """A pipeline spec that breaks a rule."""

    exit_status = 2


class InvalidRequest(ApplianceError):
    """Arguments that do not fit together or make no sense."""

    exit_status = 2


class PathConflict(ApplianceError):
    """A file where a directory is needed, or a directory where a file is."""


class NotWritable(ApplianceError):
    """The thing exists and can not be written to."""


class OutputBranch(NotWritable):
    """Only a pipeline writes to this branch."""


class NotAuthorized(ApplianceError):
    """Whoever asks has no role that allows it."""


class Conflict(ApplianceError):
    """The state of something forbids it now: a head that moved, a repo that others depend on."""


class BadDigest(ApplianceError):
    """Received bytes do not have the digest their sender announced."""


class IncompleteBody(ApplianceError):
    """Fewer bytes arrived than announced."""


class Unsupported(ApplianceError):
    """Deliberately not offered."""


class TransferFailed(ApplianceError):
    """Another object store refused, failed or could not be reached."""


class DiskFailed(ApplianceError):
    """The disk of the data directory, or the system's limits, do not allow it now; nothing was changed."""


class OutOfSpace(DiskFailed):
    """There is no room on the disk of the data directory; nothing was changed."""


class StoreDamaged(ApplianceError):
    """What is kept contradicts itself."""

    exit_status = 3
