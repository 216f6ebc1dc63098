"""Somebody else's object stores for tests: real servers as processes, and a small one that follows a script."""

import json
import queue
import re
import subprocess
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import IO, Any, ClassVar
from urllib.request import urlopen

import boto3
from azure.storage.blob import ContainerClient
from botocore.config import Config
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from external import google

from appliance.external.credentials import Profile, Profiles
from appliance.external.urls import ObjectUrl, parse_url

MIB = 1 << 20
KEY_ID = "AKIAEXAMPLE"
SECRET = "very-secret-and-never-shown"
AZURITE_ACCOUNT = "devstoreaccount1"
AZURITE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@dataclass(frozen=True)
class Described:
    """What a server says about an object."""

    etag: str
    modified: datetime
    content_type: str
    metadata: dict[str, str]


@dataclass(frozen=True)
class Remote:
    """A bucket at a server, a client that sees it as anybody does, and profiles that fit. This one speaks S3."""

    endpoint: str
    bucket: str
    client: Any
    profiles: Profiles
    scheme: ClassVar[str] = "s3"
    no_bucket: ClassVar[str] = "NoSuchBucket"

    def text(self, key: str = "") -> str:
        """The address of a key, which is percent-encoded already."""
        return f"{self.scheme}://{self.bucket}/{key}?endpoint={self.endpoint}"

    def url(self, key: str = "") -> ObjectUrl:
        return parse_url(self.text(key))

    def put(self, key: str, body: bytes = b"x") -> None:
        self.client.put_object(Bucket=self.bucket, Key=key, Body=body)

    def get(self, key: str) -> bytes:
        return b"".join(self.pieces(key))

    def pieces(self, key: str) -> Iterator[bytes]:
        """Yield an object's bytes, which may be many."""
        yield from self.client.get_object(Bucket=self.bucket, Key=key)["Body"].iter_chunks(MIB)

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket=self.bucket, Key=key)

    def described(self, key: str) -> Described:
        head = self.client.head_object(Bucket=self.bucket, Key=key)
        return Described(head["ETag"].strip('"'), head["LastModified"], head["ContentType"], head["Metadata"])

    def list_keys(self) -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        return [item["Key"] for page in pages for item in page.get("Contents", ())]


class AzureRemote(Remote):
    """A container; `client` is one of Azure's own library for it."""

    scheme = "azblob"
    no_bucket = "ContainerNotFound"

    def put(self, key: str, body: bytes = b"x") -> None:
        self.client.upload_blob(key, body, overwrite=True)

    def pieces(self, key: str) -> Iterator[bytes]:
        yield from self.client.download_blob(key).chunks()

    def delete(self, key: str) -> None:
        self.client.delete_blob(key)

    def described(self, key: str) -> Described:
        found = self.client.get_blob_client(key).get_blob_properties()
        return Described(found.etag.strip('"'), found.last_modified, found.content_settings.content_type, found.metadata)

    def list_keys(self) -> list[str]:
        return sorted(self.client.list_blob_names())


class GoogleRemote(Remote):
    """A bucket; `client` is the address of the emulator behind the bridge."""

    scheme = "gs"

    def put(self, key: str, body: bytes = b"x") -> None:
        google.put_object(self.client, self.bucket, key, body, {})

    def pieces(self, key: str) -> Iterator[bytes]:
        with urlopen(f"{google.object_url(self.client, self.bucket, key)}?alt=media", timeout=300) as answer:
            while piece := answer.read(MIB):
                yield piece

    def delete(self, key: str) -> None:
        google.ask(google.object_url(self.client, self.bucket, key), method="DELETE")

    def described(self, key: str) -> Described:
        found = json.loads(google.ask(google.object_url(self.client, self.bucket, key)))
        modified = datetime.fromisoformat(found["updated"])
        return Described(google.etag(found).strip('"'), modified, found["contentType"], found.get("metadata") or {})

    def list_keys(self) -> list[str]:
        page = json.loads(google.ask(f"{self.client}/storage/v1/b/{self.bucket}/o"))
        return [item["name"] for item in page.get("items", ())]


class Scripted(ThreadingHTTPServer):
    """A server that answers every PUT with the next status of a script, then with 200; a HEAD finds nothing."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _ScriptedHandler)
        self.script: list[int] = []
        self.puts = 0

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _ScriptedHandler(BaseHTTPRequestHandler):
    server: Scripted

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.puts += 1
        self._answer(self.server.script.pop(0) if self.server.script else 200)

    def do_HEAD(self) -> None:
        self._answer(404)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.send_header("ETag", '"etag"')
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


def a_profile(endpoint: str | None, **changes: Any) -> Profile:
    values: dict[str, Any] = {"access_key_id": KEY_ID, "secret_access_key": SECRET, "region": "us-east-1"}
    return Profile(provider="amazon", endpoint=endpoint, **(values | changes))


@contextmanager
def open_bucket_at(endpoint: str, profiles: Profiles) -> Iterator[Remote]:
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=KEY_ID,
        aws_secret_access_key=SECRET,
        region_name="us-east-1",
        config=Config(request_checksum_calculation="when_required", response_checksum_validation="when_required"),
    )
    bucket = f"bucket-{uuid.uuid4().hex}"
    client.create_bucket(Bucket=bucket)
    profiles.put(a_profile(endpoint))
    yield Remote(endpoint, bucket, client, profiles)
    client.close()


@contextmanager
def open_container_at(endpoint: str, profiles: Profiles) -> Iterator[AzureRemote]:
    """A new container in azurite's one account, whose key is the same everywhere and no secret."""
    account_url = f"{endpoint}/{AZURITE_ACCOUNT}"
    container = f"container-{uuid.uuid4().hex}"
    with ContainerClient(account_url, container, AZURITE_KEY) as client:
        client.create_container()
        profiles.put(azure_profile(endpoint))
        yield AzureRemote(account_url, container, client, profiles)


def azure_profile(endpoint: str, **changes: Any) -> Profile:
    values: dict[str, Any] = {"access_key_id": AZURITE_ACCOUNT, "secret_access_key": AZURITE_KEY}
    return Profile(provider="microsoft", endpoint=f"{endpoint}/{AZURITE_ACCOUNT}", **(values | changes))


def open_google_bucket_at(endpoint: str, emulator: str, profiles: Profiles) -> GoogleRemote:
    """A new bucket in the emulator, which asks nobody who they are."""
    bucket = f"bucket-{uuid.uuid4().hex}"
    google.ask(
        f"{emulator}/storage/v1/b", json.dumps({"name": bucket}).encode(), "POST", **{"Content-Type": "application/json"}
    )
    profiles.put(google_profile(endpoint))
    return GoogleRemote(endpoint, bucket, emulator, profiles)


def google_profile(endpoint: str | None) -> Profile:
    account = {"type": "service_account", "client_email": "", "private_key": "", "private_key_id": "", "disable_oauth": True}
    return Profile(provider="google", access_key_id="", secret_access_key=json.dumps(account), endpoint=endpoint)


def service_account(key: RSAPrivateKey) -> str:
    """The credentials file of a service account."""
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    account = {"type": "service_account", "client_email": "me@example", "private_key": pem, "private_key_id": "1"}
    return json.dumps(account)


@contextmanager
def served(command: list[str]) -> Iterator[str]:
    """Run a server until the end; gives the address it says it listens on."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        found: queue.SimpleQueue[str] = queue.SimpleQueue()
        reader = threading.Thread(target=_find_address, args=(process.stdout, found))
        reader.start()
        try:
            yield found.get(timeout=30)
        finally:
            process.terminate()
            process.wait(timeout=30)
            reader.join()


def _find_address(output: IO[str], found: "queue.SimpleQueue[str]") -> None:
    """Put the first address into `found`, then read on, for a full pipe would stop the server."""
    for line in output:
        if address := re.search(r"http://127\.0\.0\.1:\d+", line):
            found.put(address[0])
            break
    for _ in output:
        pass
