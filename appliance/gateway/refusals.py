"""The methods of moto's `S3Backend` that are not offered: a bucket on which nothing was ever configured, and refusals."""

from collections.abc import Callable
from typing import Any, ClassVar

from appliance.gateway.errors import S3Error, not_implemented


class Refusals:
    """Stands before `S3Backend` among the bases of a backend, so that nothing of moto's in-memory state can be reached."""

    # What a bucket says on which nothing was ever configured: the code of the error.
    NOT_CONFIGURED: ClassVar[dict[str, str]] = {
        "get_bucket_policy": "NoSuchBucketPolicy",
        "get_bucket_lifecycle": "NoSuchLifecycleConfiguration",
        "get_bucket_lifecycle_configuration": "NoSuchLifecycleConfiguration",
        "get_bucket_website_configuration": "NoSuchWebsiteConfiguration",
        "get_bucket_encryption": "ServerSideEncryptionConfigurationNotFoundError",
        "get_bucket_replication": "ReplicationConfigurationNotFoundError",
        "get_bucket_ownership_controls": "OwnershipControlsNotFoundError",
        "get_public_access_block": "NoSuchPublicAccessBlockConfiguration",
        "get_object_lock_configuration": "ObjectLockConfigurationNotFoundError",
    }

    # Refused: the writes of the above, and what is not offered at all. Most never get here, because `responses` refuses
    # the request.
    REFUSED: ClassVar[tuple[str, ...]] = (
        "create_table_storage_bucket",
        "default_vpc_endpoint_service",
        "delete_bucket_encryption",
        "delete_bucket_lifecycle",
        "delete_bucket_ownership_controls",
        "delete_bucket_policy",
        "delete_bucket_replication",
        "delete_bucket_website",
        "delete_object_tagging",
        "delete_public_access_block",
        "delete_table_storage_bucket",
        "get_bucket_accelerate_configuration",
        "get_bucket_inventory_configuration",
        "get_bucket_logging",
        "get_bucket_notification_configuration",
        "get_cloudwatch_metrics",
        "get_object_attributes",
        "get_object_legal_hold",
        "is_truncated",
        "iter_tagged_resources",
        "list_bucket_inventory_configurations",
        "put_bucket_accelerate_configuration",
        "put_bucket_encryption",
        "put_bucket_inventory_configuration",
        "put_bucket_lifecycle",
        "put_bucket_lifecycle_configuration",
        "put_bucket_logging",
        "put_bucket_notification_configuration",
        "put_bucket_ownership_controls",
        "put_bucket_policy",
        "put_bucket_replication",
        "put_bucket_website",
        "put_object_legal_hold",
        "put_object_lock_configuration",
        "put_object_retention",
        "put_object_tagging",
        "put_public_access_block",
        "reset",
        "restore_object",
        "select_object_content",
        "tag_resource",
        "untag_resource",
        "upload_file",
        "upload_fileobj",
    )


def _refuse(self: Any, *_arguments: Any, **_options: Any) -> Any:
    raise not_implemented()


def _not_configured(code: str) -> Callable[..., Any]:
    def answer(self: Any, bucket_name: str, *_arguments: Any, **_options: Any) -> Any:
        self.get_bucket(bucket_name)
        raise S3Error(code, "The configuration does not exist.")

    return answer


for _name in Refusals.REFUSED:
    setattr(Refusals, _name, _refuse)
for _name, _code in Refusals.NOT_CONFIGURED.items():
    setattr(Refusals, _name, _not_configured(_code))
