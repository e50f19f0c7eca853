"""What deploy/ holds is sound as text; tests/slurm and `make test-deploy` run it."""

import re
import shutil
import subprocess

import pytest
from conftest import REPOSITORY
from test_docs import OPTION, OPTIONS, commands, lines

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
