"""The image can be built, and Kubernetes and its operator accept the manifests."""

import io
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import REPOSITORY

DOCKER = REPOSITORY / "deploy/docker"
MANIFESTS = REPOSITORY / "deploy/kubernetes/cluster.yaml"
CRDS = "dask_kubernetes/operator/deployment/helm/dask-kubernetes-operator/crds"
VARIABLE = "BALANS_SCHEMAS"
KUBERNETES = "1.33"


def documents():
    yaml = pytest.importorskip("yaml")
    return list(yaml.safe_load_all(MANIFESTS.read_text()))


@pytest.fixture
def instructions():
    """Instructions of the Dockerfile, in their order."""
    parser = pytest.importorskip("dockerfile_parse", reason="make test-deploy")
    content = (DOCKER / "Dockerfile").read_bytes()
    found = parser.DockerfileParser(fileobj=io.BytesIO(content)).structure
    return [(each["instruction"], each["value"]) for each in found]


@pytest.fixture
def manifests():
    return {each["kind"]: each for each in documents()}


def test_the_image_runs_what_it_is_told_and_not_as_root(instructions):
    words = [name for name, _ in instructions]
    assert set(words) <= {
        "COMMENT", "ARG", "FROM", "COPY", "RUN", "ENV", "USER", "WORKDIR", "STOPSIGNAL", "CMD",
    }  # fmt: skip
    assert dict(instructions)["USER"] == "1000"
    assert words.index("USER") > max(i for i, word in enumerate(words) if word == "RUN")
    assert not any(value.startswith("latest") or ":latest" in value for _, value in instructions)


def test_what_the_image_copies_can_be_installed(instructions, tmp_path):
    copied = [shlex.split(value) for name, value in instructions if name == "COPY"]
    ignored = (DOCKER / "Dockerfile.dockerignore").read_text().splitlines()
    (tmp_path / "src").mkdir()
    for *names, target in (words for words in copied if not words[0].startswith("--")):
        for name in names:
            assert f"!{name}" in ignored
            source = REPOSITORY / name
            if source.is_dir():
                shutil.copytree(source, Path(f"{tmp_path}{target}"))
            else:
                shutil.copy(source, Path(f"{tmp_path}{target}"))
    command = next(value for name, value in instructions if name == "RUN" and "pip" in value)
    for place in ("/src", "/opt/balans"):
        command = command.replace(place, f"{tmp_path}{place}")
    command = command.replace("python -m venv", f"{sys.executable} -m venv")
    without = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(["sh", "-ec", command], check=True, env=without, cwd=tmp_path)
    for program in ("balans", "dask"):
        installed = [f"{tmp_path}/opt/balans/bin/{program}", "--version"]
        subprocess.run(installed, check=True, env=without, cwd=tmp_path)


def test_the_operator_accepts_the_cluster(manifests):
    yaml = pytest.importorskip("yaml")
    jsonschema = pytest.importorskip("jsonschema", reason="make test-deploy")
    if VARIABLE not in os.environ:
        pytest.skip(f"{VARIABLE} names no folder with the operator's definitions: make test-deploy")
    path = Path(os.environ[VARIABLE]) / CRDS / "daskcluster.yaml"
    definition = yaml.safe_load(path.read_text())["spec"]["versions"][0]
    schema = closed(definition["schema"]["openAPIV3Schema"])
    cluster = manifests["DaskCluster"]
    assert cluster["apiVersion"] == "kubernetes.dask.org/v1"
    jsonschema.validate(cluster["spec"], schema["properties"]["spec"])
    cluster["spec"]["worker"]["replicaz"] = 3
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(cluster["spec"], schema["properties"]["spec"])


def closed(schema):
    """A schema that refuses what it does not know; Kubernetes drops that without a word."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: closed(each) for name, each in schema.items()}
    if isinstance(found.get("properties"), dict) and "type" in found:
        found.setdefault("additionalProperties", False)
    return found


def test_kubernetes_accepts_the_job_and_the_policies():
    validate = pytest.importorskip("kubernetes_validate", reason="make test-deploy")
    ours = [each for each in documents() if each["kind"] != "DaskCluster"]
    assert [each["kind"] for each in ours] == ["Job", *["NetworkPolicy"] * 3]
    for each in ours:
        validate.validate(each, KUBERNETES, strict=True)


def test_the_job_finds_the_cluster_and_both_use_the_same_volume(manifests):
    cluster, job = manifests["DaskCluster"], manifests["Job"]["spec"]["template"]["spec"]
    driver = job["containers"][0]
    address = driver["args"][driver["args"].index("--cluster") + 1]
    assert address == f"tcp://{cluster['metadata']['name']}-scheduler:8786"
    worker = cluster["spec"]["worker"]["spec"]
    assert driver["volumeMounts"][0] == worker["containers"][0]["volumeMounts"][0]
    assert job["volumes"][0] == worker["volumes"][0]
    workers = driver["args"][driver["args"].index("--workers") + 1]
    assert int(workers) == cluster["spec"]["worker"]["replicas"]
