"""An upload by a form: read as the put that it stands for, and answered as a browser expects."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import quote, urlencode, urlsplit

from appliance.gateway import forms, parsing, policy, signature, tags
from appliance.gateway.errors import S3Error, xml_text
from appliance.gateway.forms import Form
from appliance.gateway.policy import Sizes
from appliance.gateway.request import Address
from appliance.httpd import Body, BodyTooLarge, Reply, Request

_ANSWERED = {"200": 200, "201": 201}
_LOCATION = re.compile(r"[!-~]{1,2000}")


class FormUpload:
    """A form whose fields have arrived and whose file is still to come. Make one with `read`."""

    def __init__(self, form: Form, request: Request, bucket: str) -> None:
        self.key = forms.find_key(form)
        self.claim = signature.parse_form(form.fields)
        self._form, self._request, self._bucket = form, request, bucket
        self._sizes = Sizes()
        self._received_bytes = 0

    @classmethod
    async def read(cls, request: Request, bucket: str) -> "FormUpload":
        """Read the fields. Raises S3Error, AuthError for those that can not be."""
        content_type = request.headers.get("content-type") or ""
        if content_type.partition(";")[0].strip().lower() != forms.MEDIA_TYPE:
            message = "Bucket POST must be of the enclosure-type multipart/form-data"
            raise S3Error("PreconditionFailed", message)
        form = Form(content_type, request.body)
        await form.read_fields()
        return cls(form, request, bucket)

    def check_policy(self) -> None:
        """Check the fields against the policy, whose signature is right. Raises S3Error."""
        if self.claim is not None:
            fields = {**self._form.fields, "key": self.key, "bucket": self._bucket}
            self._sizes = policy.check(self._form.fields["policy"], fields, datetime.now(UTC))

    @property
    def address(self) -> Address:
        """What is put."""
        return Address(self._bucket, self.key, {})

    def as_put(self) -> Request:
        """Return the put that this stands for. Its body raises S3Error if it gets larger than the policy allows."""
        tagging = self._form.fields.get("tagging")
        with parsing.translated():
            tagged = tags.keep(tags.parse_body(tagging.encode())) if tagging else None
        headers = forms.make_headers(self._form.fields, tagged)
        target = quote(f"/{self._bucket}/{self.key}")
        return Request("PUT", target, headers, Body(None, self._receive), self._request.scheme, self._request.peer)

    async def _receive(self) -> bytes:
        piece = await self._form.read_file()
        self._received_bytes += len(piece)
        if not piece:
            self._sizes.check(self._received_bytes)
        elif self._sizes.most is not None and self._received_bytes > self._sizes.most:
            raise BodyTooLarge
        return piece

    def answer(self, put: Reply) -> Reply:
        """Return what the browser is told of a put that went well."""
        kept = [(name, value) for name, value in put.headers if name.lower() != "content-length"]
        etag = next(value for name, value in kept if name.lower() == "etag")
        fields = self._form.fields
        redirect = _redirect(fields.get("success_action_redirect") or fields.get("redirect"), self._bucket, self.key, etag)
        if redirect is not None:
            return Reply(303, [*kept, ("Location", redirect)], b"")
        location = f"{self._request.scheme}://{self._request.headers.get('host')}{quote(f'/{self._bucket}/{self.key}')}"
        status = _ANSWERED.get(fields.get("success_action_status", ""), 204)
        headers = [*kept, ("Location", location)]
        if status != 201:
            return Reply(status, headers, b"")
        described = {"Location": location, "Bucket": self._bucket, "Key": self.key, "ETag": etag}
        return Reply(201, [*headers, ("Content-Type", "application/xml")], _render(described))


def _redirect(url: str | None, bucket: str, key: str, etag: str) -> str | None:
    """Return where the browser is sent; None for what is no address of a page."""
    if url is None or not _LOCATION.fullmatch(url):
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.netloc:
        return None
    said = urlencode({"bucket": bucket, "key": key, "etag": etag})
    return parts._replace(query=f"{parts.query}&{said}" if parts.query else said).geturl()


def _render(described: Mapping[str, str]) -> bytes:
    inside = "".join(f"<{name}>{xml_text(value)}</{name}>" for name, value in described.items())
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<PostResponse>{inside}</PostResponse>'.encode()
