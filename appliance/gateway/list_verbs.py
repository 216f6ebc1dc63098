"""The lists: buckets, objects, versions."""

from appliance.gateway import history, listing
from appliance.gateway.verbs import Answer, Verbs

_XML = {"Content-Type": "application/xml"}


class ListVerbs(Verbs):
    """Answers requests for lists of what is there."""

    def all_buckets(self) -> Answer:
        """ListBuckets. Moto's has one page and another owner."""
        request = listing.parse_buckets_request(self.request.address)
        result = listing.describe_buckets(request, self.backend.list_buckets(request.prefix))
        return self._serialize("ListBuckets", result)

    def list_objects(self) -> Answer:
        request = listing.parse_list_request(self.request.address)
        return 200, dict(_XML), listing.render(request, self.backend.list_objects(request))

    list_objects_v2 = list_objects

    def list_object_versions(self) -> Answer:
        """Moto's lists the versions it has in memory, and none behind a marker that is gone."""
        request = history.parse_versions_request(self.request.address)
        return 200, dict(_XML), history.render_versions(request, self.backend.list_object_versions(request))
