"""The verbs on what a bucket, or an object, is told about itself: ACLs, CORS rules, tags of buckets."""

from appliance.gateway import acl, cors, tags
from appliance.gateway.errors import S3Error
from appliance.gateway.sharing import acl_of
from appliance.gateway.verbs import Answer, Verbs

_BUCKET_TAGS = 50
_XML = {"Content-Type": "application/xml"}


class SettingsVerbs(Verbs):
    """Answers requests about settings. Moto's keeps grants of its own making, and asks nobody."""

    def get_bucket_acl(self) -> Answer:
        return 200, dict(_XML), acl.render(self.backend.get_bucket_acl(self.bucket_name))

    def put_bucket_acl(self) -> Answer:
        self.backend.put_bucket_acl(self.bucket_name, acl.parse_request(self.headers, self.body))
        return 200, {}, b""

    def get_object_acl(self) -> Answer:
        found = self.backend.get_object_acl(self.bucket_name, self.parse_key_name(), self._version_id())
        headers = {} if found.version is None else {"x-amz-version-id": found.version}
        return 200, _XML | headers, acl.render(acl_of(found.entry.metadata))

    def put_object_acl(self) -> Answer:
        wanted = acl.parse_request(self.headers, self.body)
        version = self.backend.put_object_acl(self.bucket_name, self.parse_key_name(), self._version_id(), wanted)
        return 200, {} if version is None else {"x-amz-version-id": version}, b""

    def get_bucket_cors(self) -> Answer:
        rules = self.backend.get_bucket_cors(self.bucket_name)
        if rules is None:
            raise S3Error("NoSuchCORSConfiguration", "The CORS configuration does not exist")
        return self._serialize("GetBucketCors", cors.describe(rules))

    def put_bucket_cors(self) -> Answer:
        self.backend.put_bucket_cors(self.bucket_name, cors.parse_rules(self.body))
        return 200, {}, b""

    def delete_bucket_cors(self) -> Answer:
        self.backend.put_bucket_cors(self.bucket_name, None)
        return 204, {}, b""

    def get_bucket_tags(self) -> Answer:
        kept = self.backend.get_bucket_tagging(self.bucket_name)
        if kept is None:
            raise S3Error("NoSuchTagSet", "The TagSet does not exist")
        return self._serialize("GetBucketTagging", tags.describe(kept))

    def put_bucket_tagging(self) -> Answer:
        self.backend.put_bucket_tagging(self.bucket_name, tags.parse_body(self.body, most=_BUCKET_TAGS))
        return 204, {}, b""

    def delete_bucket_tagging(self) -> Answer:
        self.backend.put_bucket_tagging(self.bucket_name, None)
        return 204, {}, b""

    def put_bucket_settings(self) -> Answer | None:
        """Answer a PUT on a bucket that sets something; None for one that does not."""
        routes = {"acl": self.put_bucket_acl, "cors": self.put_bucket_cors, "tagging": self.put_bucket_tagging}
        return next((answer() for name, answer in routes.items() if name in self.querystring), None)
