"""The profiles of conf/spark: what Spark will read, what they may not set, and what they must say."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
import zipfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent
PROFILES = sorted((PROJECT / "conf" / "spark").glob("*.conf"))
CLUSTERS = ("standalone", "yarn", "kubernetes")
SPARK = Path((find_spec("pyspark") or pytest.fail("pyspark is not installed")).origin or "").parent
SECRET = re.compile(r"(?i)secret|password|token|access[.]?key|credential")  # what Spark itself hides: spark.redaction.regex
ALLOWED_SECRET = re.compile(r"\$\{env:\w+\}|(?:[\w.]+CredentialsProvider,?)+")  # a variable's name, or classes that look for one
KEYED_CLASSES = re.compile(r"/internal/config/|SQLConf|deploy/k8s/Config|deploy/yarn/config|network/util/TransportConf")
DOCUMENTED = {"fs.s3a.endpoint.region"}  # of Hadoop, not in core-default.xml: hadoop-aws, connecting.md
COMPOSED = {"spark.kubernetes.authenticate.driver.serviceAccountName"}  # put together from two texts when Spark runs
USERS_OWN = ("spark.executorEnv.", "spark.kubernetes.driver.volumes.", "spark.kubernetes.executor.volumes.")

each_profile = pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)


def read_properties(path: Path) -> dict[str, str]:
    """Keys and values of a profile, in the part of Java's properties syntax that needs no escapes and has one reading."""
    found: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="ascii").splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        pair = re.fullmatch(r"([A-Za-z0-9._]+) +([^\s\\]+)", line)
        assert pair, f"{path.name}:{number}: not `key value`: {line!r}"
        assert pair[1] not in found, f"{path.name}:{number}: {pair[1]} stands twice"
        found[pair[1]] = pair[2]
    return found


def secrets_of(properties: dict[str, str]) -> dict[str, str]:
    named = {key: value for key, value in properties.items() if SECRET.search(key) or SECRET.search(value)}
    return {key: value for key, value in named.items() if not ALLOWED_SECRET.fullmatch(value)}


@cache
def known_keys() -> frozenset[str]:
    """Every text that looks like a setting in the classes of this Spark that declare settings."""
    declared = b""
    for jar in (SPARK / "jars").glob("spark-*.jar"):
        with zipfile.ZipFile(jar) as classes:
            declared += b"\0".join(classes.read(name) for name in classes.namelist() if KEYED_CLASSES.search(name))
    return frozenset(key.decode() for key in re.findall(rb"spark\.[A-Za-z0-9.]+", declared))


@cache
def known_hadoop_keys() -> frozenset[str]:
    with zipfile.ZipFile(next((SPARK / "jars").glob("hadoop-client-api-*.jar"))) as jar:
        names = ElementTree.fromstring(jar.read("core-default.xml")).iterfind("property/name")
        return frozenset(name.text or "" for name in names) | DOCUMENTED


def test_there_is_a_profile_for_each_place_that_spark_can_run_in():
    assert {path.stem for path in PROFILES} == {"local", "standalone", "yarn", "kubernetes", "s3"}


@each_profile
def test_a_profile_is_properties_of_spark_alone(path):
    properties = read_properties(path)
    assert properties and all(key.startswith("spark.") for key in properties)


@each_profile
def test_every_setting_is_one_that_this_spark_knows(path):
    """Spark passes over a key that it does not know without a word."""
    keys = {key for key in read_properties(path) if not key.startswith(USERS_OWN)}
    hadoop = {key.removeprefix("spark.hadoop.") for key in keys if key.startswith("spark.hadoop.")}
    assert hadoop <= known_hadoop_keys()
    assert {key for key in keys if not key.startswith("spark.hadoop.")} <= known_keys() | COMPOSED


def test_a_setting_with_a_typing_error_would_be_found():
    assert "spark.sql.shuffle.partitions" in known_keys() and "spark.sql.shuffle.partition" not in known_keys()


@each_profile
def test_results_cannot_depend_on_a_profile(path):
    from pipeline.prepare.session import FIXED

    assert not set(read_properties(path)) & set(FIXED)


@each_profile
def test_a_profile_holds_no_secret(path):
    assert not secrets_of(read_properties(path))


@pytest.mark.parametrize(
    "line",
    [
        "spark.authenticate.secret hunter2",
        "spark.hadoop.fs.s3a.secret.key ${env:X}abc",
        "spark.hadoop.fs.s3a.access.key AKIAIOSFODNN7EXAMPLE",
        "spark.executorEnv.AWS_SESSION_TOKEN abc",
        "spark.driver.extraJavaOptions -Dpassword=abc",
    ],
)
def test_a_secret_would_be_found(tmp_path, line):
    path = tmp_path / "leaky.conf"
    path.write_text(line + "\n")
    assert secrets_of(read_properties(path))


@each_profile
def test_every_setting_stands_below_a_comment_that_explains_it(path):
    """In a paragraph: comment lines first, then what they explain."""
    for paragraph in path.read_text().strip().split("\n\n"):
        lines = paragraph.splitlines()
        kinds = "".join("#" if line.startswith("#") else "=" for line in lines)
        assert re.fullmatch("#+=*", kinds), paragraph


def test_local_is_what_the_command_takes_by_itself():
    from pipeline.prepare.session import LOCAL

    assert LOCAL.items() <= read_properties(PROJECT / "conf" / "spark" / "local.conf").items()


@pytest.mark.parametrize("name", CLUSTERS)
def test_clusters_authenticate_encrypt_and_speculate_with_patience(name):
    properties = read_properties(PROJECT / "conf" / "spark" / f"{name}.conf")
    for key in ("spark.authenticate", "spark.network.crypto.enabled", "spark.io.encryption.enabled", "spark.speculation"):
        assert properties[key] == "true", key
    assert properties["spark.network.crypto.saslFallback"] == "false"
    assert properties["spark.sql.adaptive.coalescePartitions.parallelismFirst"] == "false"
    assert properties["spark.speculation.minTaskRuntime"] == "30s"


@pytest.mark.parametrize("name", ["local", *CLUSTERS])
def test_s3_can_be_added_to_any_other_profile(name):
    """They are put together with cat: a key in both would mean two things."""
    other = read_properties(PROJECT / "conf" / "spark" / f"{name}.conf")
    assert not set(other) & set(read_properties(PROJECT / "conf" / "spark" / "s3.conf"))


def test_the_s3_client_is_of_the_hadoop_that_comes_with_spark():
    bundled = next((SPARK / "jars").glob("hadoop-client-api-*.jar")).stem.rpartition("-")[2]
    packages = read_properties(PROJECT / "conf" / "spark" / "s3.conf")["spark.jars.packages"]
    assert packages == f"org.apache.hadoop:hadoop-aws:{bundled}"
    assert not list((SPARK / "jars").glob("hadoop-aws-*.jar"))  # else the package is not needed


@each_profile
def test_the_page_explains_the_profile(path):
    assert f"conf/spark/{path.name}" in (PROJECT / "docs" / "spark.md").read_text()
