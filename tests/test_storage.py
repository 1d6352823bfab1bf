"""Files on an S3 server: read as local ones are, refused with the reason, published by a put that fails if another came first."""

from __future__ import annotations

import hashlib
import socket

import boto3
import pytest
import requests

from pipeline import config, storage, upload
from pipeline.attempt import Found, begin, publish, read_published
from pipeline.console import Console
from pipeline.errors import ConfigError, DataError, InfrastructureError
from pipeline.manifest import FileEntry, Manifest, describe_files, verify
from pipeline.paths import Remote, Run
from pipeline.stage import Request, Work, run_stage, upstream
from tests.conftest import PROJECT
from tests.store import SECRET


def test_a_remote_path_is_pure_text():
    folder = Remote("s3://bucket/runs")
    assert str(folder / "a" / "b.parquet") == "s3://bucket/runs/a/b.parquet"
    assert ((folder / "a").name, (folder / "a").parent, folder.scheme) == ("a", folder, "s3")
    run = Run(root=None, recipe="iris", run_id="manual-1", data=folder)
    assert str(run.published("prepare")) == "s3://bucket/runs/iris/manual-1/prepare"


@pytest.mark.parametrize(
    "url", ["runs", "/mnt/runs", "ftp://host/runs", "s3://", "s3:bucket/runs", "s3://bucket/runs?versionId=1"], ids=lambda url: url
)
def test_what_names_no_store_is_refused(url):
    with pytest.raises(ConfigError, match="names no store. Expected s3://bucket/folder"):
        storage.remote(url)


def test_credentials_in_a_url_are_refused_and_not_repeated():
    with pytest.raises(ConfigError, match="Expected them in the environment") as error:
        storage.remote(f"s3://AKIA:{SECRET}@bucket/runs")
    assert SECRET not in str(error.value) and "AKIA" not in str(error.value)


def test_files_are_read_from_a_bucket(s3, bucket):
    content = bytes(range(256)) * 20_000
    s3.client().put_object(Bucket=bucket, Key="runs/a.bin", Body=content)
    place = Remote(f"s3://{bucket}/runs/a.bin")
    assert storage.size_of(place) == len(content) and storage.exists(place)
    assert storage.read_bytes(place) == content == b"".join(storage.chunks(place))
    assert not storage.exists(place.parent / "b.bin")
    with pytest.raises(FileNotFoundError):
        storage.read_bytes(place.parent / "b.bin")


class TestAccess:
    def test_a_bucket_that_is_there_is_let_in(self, s3, bucket):
        storage.check_access(Remote(f"s3://{bucket}/runs"))

    def test_a_missing_bucket_is_named(self, s3):
        with pytest.raises(ConfigError, match=f"there is no bucket no-such-bucket on {s3.endpoint}"):
            storage.check_access(Remote("s3://no-such-bucket/runs"))

    def test_missing_credentials_are_told_from_wrong_ones(self, s3, bucket, monkeypatch):
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        storage.forget_connections()
        with pytest.raises(ConfigError, match="no credentials. Expected AWS_ACCESS_KEY_ID"):
            storage.check_access(Remote(f"s3://{bucket}/runs"))

    def test_wrong_credentials_are_refused_by_the_server(self, s3, bucket, monkeypatch):
        users = s3.client("iam")
        users.create_user(UserName="reader")
        everything = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}'
        users.put_user_policy(UserName="reader", PolicyName="all", PolicyDocument=everything)
        made = users.create_access_key(UserName="reader")["AccessKey"]
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", made["AccessKeyId"])
        requests.post(f"{s3.endpoint}/moto-api/reset-auth", data=b"0", timeout=60)  # from now on the server checks signatures
        try:
            monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", made["SecretAccessKey"])
            storage.forget_connections()
            storage.check_access(Remote(f"s3://{bucket}/runs"))
            monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
            storage.forget_connections()
            with pytest.raises(ConfigError, match="the store refuses these credentials") as error:
                storage.check_access(Remote(f"s3://{bucket}/runs"))
            assert SECRET not in str(error.value)
        finally:
            requests.post(f"{s3.endpoint}/moto-api/reset-auth", data=b"inf", timeout=60)

    def test_a_wrong_endpoint_is_infrastructure(self, s3, bucket, monkeypatch):
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{unused.getsockname()[1]}")
            monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
            storage.forget_connections()
            with pytest.raises(InfrastructureError, match="check AWS_ENDPOINT_URL and the network") as error:
                storage.check_access(Remote(f"s3://{bucket}/runs"))
        assert error.value.exit_code == 4


def test_hdfs_without_hadoop_says_what_is_missing(monkeypatch):
    for name in ("HADOOP_HOME", "ARROW_LIBHDFS_DIR", "CLASSPATH"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InfrastructureError, match="hdfs://namenode:9000 cannot be reached: .*HADOOP_HOME"):
        storage.check_access(storage.remote("hdfs://namenode:9000/runs"))


@pytest.fixture
def published(tmp_path):
    """Content -> a result that is published under a root."""

    def make(content: str, key: str = "k") -> Found:
        attempt = begin(tmp_path / "runs" / "demo" / "manual-1" / "prepare")
        (attempt.files / "data").mkdir()
        (attempt.files / "data" / "a.txt").write_text(content)
        facts = {"stage": "prepare", "recipe": "demo", "run_id": "manual-1", "started_at": "now", "seconds": 1.0, "facts": {}}
        manifest = Manifest(key=key, attempt=attempt.published_name, files=describe_files(attempt.files), **facts)
        return Found(publish(attempt, manifest), attempt.stage_folder)

    return make


class TestUpload:
    def test_a_result_is_laid_there_whole_and_only_once(self, s3, bucket, published):
        folder, told = Remote(f"s3://{bucket}/runs/demo/manual-1/prepare"), []
        found = published("one")
        there = upload.publish(found, folder, told.append)
        verify(there.manifest, folder)
        assert there.manifest == found.manifest == read_published(folder)
        assert storage.read_bytes(there.files / "data/a.txt") == b"one"
        upload.publish(found, folder, told.append)
        assert len(told) == 1 and told[0].startswith("uploading 0.0 MB")
        assert upload.find(folder, "k") == there and upload.find(folder, "other") is None

    def test_another_result_replaces_it_and_what_it_replaced_can_still_be_read(self, s3, bucket, published):
        folder = Remote(f"s3://{bucket}/demo/manual-1/prepare")
        old = upload.publish(published("one"), folder, print)
        new = upload.publish(published("two", key="k2"), folder, print)
        assert read_published(folder) == new.manifest
        assert storage.read_bytes(old.files / "data/a.txt") == b"one"

    def test_what_was_published_meanwhile_stays(self, s3, bucket, published, monkeypatch):
        folder, put_files = Remote(f"s3://{bucket}/demo/manual-1/prepare"), storage.put_files
        slow, fast = published("slow"), published("fast", key="k2")

        def overtaken(*arguments):
            put_files(*arguments)
            monkeypatch.setattr(storage, "put_files", put_files)
            upload.publish(fast, folder, print)

        monkeypatch.setattr(storage, "put_files", overtaken)
        with pytest.raises(InfrastructureError, match="was published by another process"):
            upload.publish(slow, folder, print)
        assert read_published(folder) == fast.manifest

    def test_two_of_the_same_request_publish_one(self, s3, bucket, published, monkeypatch):
        folder, put_files = Remote(f"s3://{bucket}/demo/manual-1/prepare"), storage.put_files
        slow, fast = published("same"), published("same")

        def overtaken(*arguments):
            put_files(*arguments)
            monkeypatch.setattr(storage, "put_files", put_files)
            upload.publish(fast, folder, print)

        monkeypatch.setattr(storage, "put_files", overtaken)
        assert upload.publish(slow, folder, print).manifest.attempt == fast.manifest.attempt

    def test_one_that_was_killed_before_its_manifest_is_no_result_and_is_gone_on_with(self, s3, bucket, published):
        folder, found = Remote(f"s3://{bucket}/demo/manual-1/prepare"), published("one")
        s3.client().put_object(Bucket=bucket, Key=f"demo/manual-1/prepare/{found.manifest.attempt}/data/a.txt", Body=b"on")
        assert read_published(folder) is None
        verify(upload.publish(found, folder, print).manifest, folder)

    def test_a_file_that_is_gone_is_laid_there_again(self, s3, bucket, published):
        folder, found = Remote(f"s3://{bucket}/demo/manual-1/prepare"), published("one")
        upload.publish(found, folder, print)
        s3.client().delete_object(Bucket=bucket, Key=f"demo/manual-1/prepare/{found.manifest.attempt}/data/a.txt")
        assert upload.find(folder, "k") is None
        verify(upload.publish(found, folder, print).manifest, folder)

    def test_files_that_another_run_has_there_are_copied_by_the_store(self, s3, bucket, published):
        told, found = [], published("one")
        upload.publish(found, Remote(f"s3://{bucket}/runs/demo/manual-1/prepare"), told.append)
        (found.local_files / "data" / "a.txt").unlink()
        there = upload.publish(found, Remote(f"s3://{bucket}/runs/demo/manual-2/prepare"), told.append)
        assert told[1].startswith(f"copying s3://{bucket}/runs/demo/manual-1/prepare/{found.manifest.attempt}")
        verify(there.manifest, there.folder)

    def test_hdfs_is_refused_with_the_way_out(self, published):
        with pytest.raises(ConfigError, match="only S3 can publish safely here.*hdfs dfs -put"):
            upload.publish(published("one"), Remote("hdfs://host:9000/runs/prepare"), print)


class TestStage:
    """The prepare stage of a run whose data lies in a bucket; what it writes is a text here."""

    @pytest.fixture
    def asked(self, bucket, tmp_path):
        recipe = config.load(PROJECT / "conf" / "iris.yaml", ("feed.cache=disk", f"feed.cache_folder={tmp_path / 'copies'}"))
        data = storage.remote(f"s3://{bucket}/runs/")

        def request(root: str, **changes) -> Request:
            return Request(recipe, Run(tmp_path / root, recipe.name, "manual-1", data), Console(None), **changes)

        return request

    def work(self, attempt) -> Work:
        self.times = getattr(self, "times", 0) + 1
        (attempt.files / "data" / "train").mkdir(parents=True)
        (attempt.files / "data" / "train" / "a").write_text("rows")
        return Work({"rows": 1})

    def test_it_is_laid_in_the_bucket_found_there_from_an_empty_root_and_read_through_copies(self, s3, asked, tmp_path):
        made = run_stage(asked("one"), "prepare", {"a": 1}, {}, self.work)
        assert isinstance(made.found.folder, Remote) and made.reused_from is None
        assert (tmp_path / "one" / "iris" / "manual-1" / "prepare" / "manifest.json").exists()
        again = run_stage(asked("two"), "prepare", {"a": 1}, {}, self.work)
        assert again.found == made.found and again.reused_from == "manual-1" and self.times == 1
        assert not (tmp_path / "two").exists()
        since = s3.mark()
        for _ in range(2):
            assert upstream(asked("two"), "prepare") == made.found
        fetched = {path: count for (method, path), count in s3.requests(since).items() if method == "GET" and "/data/" in path}
        assert list(fetched.values()) == [1]

    def test_forced_it_is_done_again_and_what_is_the_same_stays(self, asked):
        made = run_stage(asked("one"), "prepare", {"a": 1}, {}, self.work)
        again = run_stage(asked("one", force=True), "prepare", {"a": 1}, {}, self.work)
        assert self.times == 2 and again.found == made.found

    def test_an_error_of_the_work_publishes_nothing(self, asked):
        def fail(attempt):
            raise DataError("a row is wrong")

        with pytest.raises(DataError, match="a row is wrong"):
            run_stage(asked("one"), "prepare", {"a": 1}, {}, fail)
        with pytest.raises(DataError, match="s3://.*has no published result"):
            upstream(asked("one"), "prepare")


@pytest.mark.parametrize(
    ("content", "problem"),
    [(b"onE", "has SHA-256"), (b"on", "has 2 bytes, its manifest says 3"), (None, "is in the manifest but not there")],
)
def test_what_is_not_as_its_manifest_says_is_found_on_a_store(s3, bucket, content, problem):
    entry = FileEntry(path="data/a.txt", bytes=3, sha256=hashlib.sha256(b"one").hexdigest())
    facts = {"stage": "prepare", "recipe": "demo", "run_id": "manual-1", "started_at": "now", "seconds": 1.0, "facts": {}}
    manifest = Manifest(key="k", attempt="attempt-1/files", files=(entry,), **facts)
    if content is not None:
        s3.client().put_object(Bucket=bucket, Key="prepare/attempt-1/files/data/a.txt", Body=content)
    with pytest.raises(DataError, match=f"s3://{bucket}/prepare/attempt-1/files/data/a.txt {problem}"):
        verify(manifest, Remote(f"s3://{bucket}/prepare"))


def test_the_secret_of_these_tests_is_the_one_in_use(s3):
    assert boto3.Session().get_credentials().secret_key == SECRET
