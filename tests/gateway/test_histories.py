"""Random histories through the gateway: every commit shows through S3 what the model in `reference.py` has.

Writes go through S3; forks, squashes and drops, which S3 has no words for, through the store.
"""

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError
from gateway.helpers import client, serving
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from reference import Commit, Model
from store.checks import check
from store.helpers import LARGE, commit_of, create_repos, fork

from appliance.errors import ApplianceError
from appliance.gateway.repo_buckets import RepoBuckets
from appliance.names import CommitId
from appliance.store import Db, Store, squash

BRANCHES = st.sampled_from(["master", "dev"])
PATHS = st.sampled_from(["/a/b", "/b/c", "/a-b", "/a", "/ä +/x"])
CONTENTS = {"empty": b"", "one": b"one", "large": LARGE}
WORDS = st.sampled_from(sorted(CONTENTS))


class GatewayAgainstModel(RuleBasedStateMachine):
    """Every rule does one thing to both; both succeed, or both refuse."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        directory = self.stack.enter_context(tempfile.TemporaryDirectory())
        self.store = Store(Path(directory), "fast")
        self.stack.callback(self.store.close)
        served = self.stack.enter_context(serving(self.store, RepoBuckets()))
        self.s3: Any = self.stack.enter_context(client(served.url))
        self.model = Model()
        self.model.create_repo("images")
        create_repos(self.store, "images")
        for branch in ("master", "dev"):
            self.model.create_branch("images", branch, None)
            fork(self.store, "images", branch)
            self.name_head(branch)

    @rule(branch=BRANCHES, path=PATHS, word=WORDS)
    def put(self, branch: str, path: str, word: str) -> None:
        where = {"Bucket": f"{branch}.images", "Key": path[1:]}
        self.write(branch, path, word, lambda: self.s3.put_object(**where, Body=CONTENTS[word]))

    @rule(branch=BRANCHES, path=PATHS, word=WORDS)
    def upload(self, branch: str, path: str, word: str) -> None:
        where = {"Bucket": f"{branch}.images", "Key": path[1:]}

        def run() -> None:
            upload = self.s3.create_multipart_upload(**where)["UploadId"]
            etag = self.s3.upload_part(**where, UploadId=upload, PartNumber=1, Body=CONTENTS[word])["ETag"]
            parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
            self.s3.complete_multipart_upload(**where, UploadId=upload, MultipartUpload=parts)

        self.write(branch, path, word, run)

    @rule(branch=BRANCHES, path=PATHS)
    def abort_an_upload(self, branch: str, path: str) -> None:
        where = {"Bucket": f"{branch}.images", "Key": path[1:]}
        upload = self.s3.create_multipart_upload(**where)["UploadId"]
        self.s3.upload_part(**where, UploadId=upload, PartNumber=1, Body=LARGE)
        self.s3.abort_multipart_upload(**where, UploadId=upload)

    @rule(branch=BRANCHES, path=PATHS)
    def delete(self, branch: str, path: str) -> None:
        self.s3.delete_object(Bucket=f"{branch}.images", Key=path[1:])
        if path in self.model.resolve("images", branch).tree:  # else nothing changes, and no commit is made
            self.model.write("images", branch, {}, [path])
        self.name_head(branch)

    @rule(data=st.data(), branch=BRANCHES)
    def fork_at_any_commit(self, data: st.DataObject, branch: str) -> None:
        commit = self.any_commit(data)
        self.model.create_branch("images", branch, commit)
        fork(self.store, "images", branch, commit.id)

    @rule(data=st.data())
    def squash_any_commit(self, data: st.DataObject) -> None:
        self.take_out(self.any_commit(data), self.model.squash, squash.squash_set)

    @precondition(lambda self: len(self.model.repos["images"].commits) > 4)
    @rule(data=st.data())
    def drop_any_commit(self, data: st.DataObject) -> None:
        self.take_out(self.any_commit(data), self.model.drop, squash.drop_set)

    @rule(data=st.data())
    def read_any_commit(self, data: st.DataObject) -> None:
        self.compare(self.any_commit(data))

    def teardown(self) -> None:
        with self.stack:
            for commit in self.model.repos["images"].commits:
                self.compare(commit)
            check(self.store)

    def write(self, branch: str, path: str, word: str, run: Callable[[], object]) -> None:
        expected = succeeds(lambda: self.model.write("images", branch, {path: CONTENTS[word]}, []))
        assert succeeds(run) == expected
        self.name_head(branch)

    def take_out(
        self, commit: Commit, on_model: Callable[[str, Commit], None], on_store: Callable[[Db, CommitId], None]
    ) -> None:
        expected = succeeds(lambda: on_model("images", commit))
        assert succeeds(lambda: self.store.write(lambda db: on_store(db, CommitId(commit.id)))) == expected
        for branch in self.model.repos["images"].branches:
            self.name_head(branch)

    def compare(self, commit: Commit) -> None:
        bucket = f"{commit.id}.images"
        listed = [item["Key"] for item in self.s3.list_objects_v2(Bucket=bucket).get("Contents", [])]
        assert listed == sorted((path[1:] for path in commit.tree), key=str.encode)
        for path, content in commit.tree.items():
            assert self.s3.get_object(Bucket=bucket, Key=path[1:])["Body"].read() == content

    def any_commit(self, data: st.DataObject) -> Commit:
        known = self.model.repos["images"].commits
        return known[data.draw(st.integers(0, len(known) - 1))]

    def name_head(self, branch: str) -> None:
        commit, found = self.model.resolve("images", branch), commit_of(self.store, "images", branch).id
        assert commit.id in ("", found)
        commit.id = found


def succeeds(run: Callable[[], object]) -> bool:
    try:
        run()
    except (ApplianceError, ClientError):
        return False
    return True


GatewayAgainstModel.TestCase.settings = settings(max_examples=30, stateful_step_count=25, phases=(Phase.generate,))
TestGatewayAgainstModel = GatewayAgainstModel.TestCase
