"""The variables user code sees (Pachyderm's `src/server/worker/driver/driver.go`, UserCodeEnv).

A worker inherits its container's environment; here that is the appliance's own, without anything that leads to a real
cloud: a job must not reach one by accident.
"""

from collections.abc import Mapping
from dataclasses import dataclass

_REMOVED_PREFIXES = (
    "AWS_",
    "AZURE_",
    "GOOGLE_",
    "GCLOUD_",
    "CLOUDSDK_",
    "BOTO_",
    "MC_HOST_",
    "RCLONE_",
    "S3_",
    "APPLIANCE_",
)
_PROXIES = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEFAULT_KEY = "default"
"""Both keys of the sidecar's pair, as Pachyderm has them while authentication is off."""


@dataclass(frozen=True, slots=True)
class Sidecar:
    """A job's own gateway: its URL, and the key that is both of its pair."""

    endpoint: str
    key: str = DEFAULT_KEY


def base_environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """Return what user code gets of the appliance's own environment."""
    kept = {name: value for name, value in inherited.items() if not name.startswith(_REMOVED_PREFIXES)}
    kept.setdefault("PATH", _PATH)
    return {**kept, **_around_proxy(kept), **container_environment()}


def container_environment() -> dict[str, str]:
    """Return what user code gets where nothing is inherited: in a container the rest is the image's."""
    return {
        # The files these name by default may hold real credentials.
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def _around_proxy(kept: Mapping[str, str]) -> dict[str, str]:
    """Where a proxy is set, loopback goes around it: no proxy reaches a job's own gateway."""
    if not any(kept.get(name) for name in _PROXIES):
        return {}
    spared = kept.get("no_proxy") or kept.get("NO_PROXY")
    return dict.fromkeys(("no_proxy", "NO_PROXY"), f"{spared},127.0.0.1" if spared else "127.0.0.1")


def worker_environment(pipeline: str, version: int) -> dict[str, str]:
    """Return what a worker's container says about itself, as far as it means something here.

    There is no spec commit, no port of a worker or of pachd, and no storage backend of that name.
    """
    return {
        "PPS_PIPELINE_NAME": pipeline,
        "PPS_PROJECT_NAME": "default",
        "PPS_POD_NAME": f"pipeline-{pipeline}-v{version}",
        "PPS_WORKER_IP": "127.0.0.1",
        "PPS_NAMESPACE": "default",
        "PACH_NAMESPACE": "default",
        "PACH_IN_WORKER": "true",
    }


def s3_environment(sidecar: Sidecar) -> dict[str, str]:
    """Return what real clients read to find the sidecar: Pachyderm's S3_ENDPOINT, the SDKs' variables, s5cmd's, MLflow's."""
    names = ("S3_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "S3_ENDPOINT_URL", "MLFLOW_S3_ENDPOINT_URL")
    return {
        **dict.fromkeys(names, sidecar.endpoint),
        "AWS_ACCESS_KEY_ID": sidecar.key,
        "AWS_SECRET_ACCESS_KEY": sidecar.key,
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ALLOW_HTTP": "true",
    }
