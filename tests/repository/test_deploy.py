"""What deploy/ holds is sound as text; tests/slurm and `make test-deploy` run it."""

import re
import shutil
import subprocess

import pytest

import balans_dask
from tests.repository.test_docs import OPTION, OPTIONS, commands, lines
from tests.support import REPOSITORY

DEPLOY = REPOSITORY / "deploy"
SCRIPTS = sorted(
    path for path in DEPLOY.rglob("*") if path.suffix in {".sbatch", ".pbs", ".sge", ".sh"}
)
JOBS = [path for path in SCRIPTS if path.suffix != ".sh"]
LONGEST_SCRIPT = 60


def name_of(path):
    return str(path.relative_to(DEPLOY))


@pytest.mark.parametrize("path", SCRIPTS, ids=name_of)
def test_a_script_is_short_strict_and_sound(path):
    text = path.read_text()
    assert text.startswith("#!/usr/bin/env bash\n# ")
    assert len(text.splitlines()) <= LONGEST_SCRIPT
    assert "\nset -euo pipefail\n" in text
    subprocess.run(["bash", "-n", path], check=True)
    if shutil.which("shellcheck"):
        ended = subprocess.run(["shellcheck", path], capture_output=True, text=True)
        assert ended.returncode == 0, ended.stdout


@pytest.mark.parametrize("path", JOBS, ids=name_of)
def test_a_job_resumes_forwards_signals_and_restarts_a_bounded_number_of_times(path):
    text = path.read_text()
    assert re.search(r'balans correct .*"\$\{?(@|given\[@\]\})".* --resume', text)
    assert "--signal=TERM" in text or "kill -TERM" in text
    assert "restarts >= MAX_RESTARTS" in text
    assert '"$code" -eq 75' in text


def test_a_job_of_pbs_ends_itself_before_its_walltime():
    text = (DEPLOY / "pbs/correct.pbs").read_text()
    hours, minutes, seconds = map(int, re.search(r"walltime=(\d+):(\d+):(\d+)", text).groups())
    stated = int(re.search(r"^WALLTIME_SECONDS=(\d+)$", text, re.MULTILINE)[1])
    assert stated == hours * 3600 + minutes * 60 + seconds


def test_every_key_of_jobqueue_yaml_is_explained_and_known_to_dask_jobqueue():
    yaml = pytest.importorskip("yaml")
    text = (DEPLOY / "slurm/jobqueue.yaml").read_text()
    above = ""
    for line in text.splitlines():
        if re.match(r" {4}[\w-]+:", line):
            assert above.lstrip().startswith("#") or line.lstrip().startswith("job-mem"), line
        above = line
    jobqueue = pytest.importorskip("dask_jobqueue")
    with open(jobqueue.__path__[0] + "/jobqueue.yaml") as file:
        known = set(yaml.safe_load(file)["jobqueue"]["slurm"])
    deprecated = {"extra", "env-extra", "job-extra", "shebang", "shared-temp-directory"}
    given = set(yaml.safe_load(text)["jobqueue"]["slurm"])
    assert given == known - deprecated - {"worker-command"}


def test_the_page_names_every_file_and_options_that_are_there():
    page = (DEPLOY / "README.md").read_text()
    for path in DEPLOY.rglob("*"):
        if path.is_file() and path.name not in {"README.md", "Dockerfile.dockerignore"}:
            assert name_of(path) in page
    for block in re.findall(r"```bash\n(.*?)```", page, flags=re.DOTALL):
        for words in lines(block):
            if "balans" in words:
                words = words[words.index("balans") + 1 :]
                named = {word for word in words if OPTION.fullmatch(word)} - {"--version"}
                assert named <= OPTIONS.get(words[0], set())
    assert list(commands(page))


@pytest.fixture
def manifests():
    yaml = pytest.importorskip("yaml")
    return list(yaml.safe_load_all((DEPLOY / "kubernetes/cluster.yaml").read_text()))


def pods(manifests):
    """Worker, scheduler and driver: labels that select the pod, and its specification."""
    cluster, job, *_ = manifests
    found = {}
    for component in ("worker", "scheduler"):
        labels = {"dask.org/cluster-name": "balans", "dask.org/component": component}
        found[component] = (labels, cluster["spec"][component]["spec"])
    template = job["spec"]["template"]
    return {**found, "driver": (template["metadata"]["labels"], template["spec"])}


def test_images_are_pinned(manifests):
    for _, pod in pods(manifests).values():
        for container in pod["containers"]:
            assert container["image"] == f"balans-dask:{balans_dask.__version__}"
    dockerfile = (DEPLOY / "docker/Dockerfile").read_text()
    assert re.search(
        r"^ARG BASE=python:3\.11\.\d+-slim-\w+(@sha256:\w{64})?$", dockerfile, re.MULTILINE
    )
    assert set(re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)) == {"${BASE}"}


def test_pods_have_no_rights_and_write_to_their_volumes_alone(manifests):
    for _, pod in pods(manifests).values():
        assert pod["automountServiceAccountToken"] is False
        rights = pod["securityContext"]
        assert rights["runAsNonRoot"] is True
        assert rights["runAsUser"] == 1000
        assert rights["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            mounted = {each["mountPath"] for each in container["volumeMounts"]}
            written = {e["value"] for e in container["env"] if e["name"] in {"HOME", "TMPDIR"}}
            assert written == {"/scratch"} <= mounted


SCHEDULER, WORKER, NANNY, HEALTH = 8786, 8788, 8789, 8787
LET_IN = {
    ("driver", "scheduler"): {SCHEDULER},
    ("worker", "scheduler"): {SCHEDULER},
    ("scheduler", "worker"): {WORKER, NANNY},
    ("worker", "worker"): {WORKER, NANNY},
}


def test_policies_let_only_the_pods_of_a_run_reach_each_other_on_the_ports_of_dask(manifests):
    name_of_labels = {tuple(labels.items()): name for name, (labels, _) in pods(manifests).items()}
    policies = [each["spec"] for each in manifests if each["kind"] == "NetworkPolicy"]

    def name_of_pod(selector):
        return name_of_labels[tuple(selector["matchLabels"].items())]

    def pairs(direction, peers):
        found = {}
        for policy in policies:
            assert policy["policyTypes"] == ["Ingress", "Egress"]
            here = name_of_pod(policy["podSelector"])
            for rule in policy.get(direction, []):
                ports = {port["port"] for port in rule["ports"]}
                for peer in rule[peers]:
                    if "podSelector" in peer:
                        there = name_of_pod(peer["podSelector"])
                    else:
                        [there] = peer["namespaceSelector"]["matchLabels"].values()
                    found[(there, here) if peers == "from" else (here, there)] = ports
        return found

    assert {name_of_pod(policy["podSelector"]) for policy in policies} == set(pods(manifests))
    into = pairs("ingress", "from")
    assert into.pop(("dask-operator", "scheduler")) == {SCHEDULER, HEALTH}
    assert into == LET_IN
    out = pairs("egress", "to")
    assert out.pop(("driver", "kube-system")) == out.pop(("worker", "kube-system")) == {53}
    assert out == LET_IN


def test_workers_listen_where_the_policies_let_others_in(manifests):
    args = pods(manifests)["worker"][1]["containers"][0]["args"]
    assert args[args.index("--worker-port") + 1] == str(WORKER)
    assert args[args.index("--nanny-port") + 1] == str(NANNY)
    assert args[args.index("--dashboard-address") + 1] == "127.0.0.1:0"
