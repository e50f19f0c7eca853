"""What notebook 02 says of SLURM holds on one."""

import re
import subprocess
import sys

import nbformat
import pytest

from tests.support import REPOSITORY

pytestmark = pytest.mark.slurm
NAMES = {
    "YOUR_PARTITION": "main", "ib0": "lo", "16GB": "8GB", "minimum_jobs=5": "minimum_jobs=1",
    "maximum_jobs=5": "maximum_jobs=1",
}  # fmt: skip
"""What a reader changes, and a smaller size."""
WORK = """
import dask.array as da, numpy as np
from balans_dask import Balans
rows = np.random.default_rng(0).normal(size=(600, 6)).astype("float32")
batch = np.arange(600) % 3
model = Balans(operator="smooth", patience=10)
fit = model.fit_transform(da.from_array(rows), batch=batch)
print(len({worker["host"] for worker in client.scheduler_info()["workers"].values()}))
print(np.isfinite(fit.compute(scheduler=client)).all())
client.close()
cluster.close()
"""


def test_the_cell_for_slurm_starts_workers_that_do_the_work(slurm, tmp_path):
    book = nbformat.read(REPOSITORY / "notebooks/02_dask_cluster.ipynb", as_version=4)
    text = "\n".join(cell.source for cell in book.cells if cell.cell_type == "markdown")
    [cell] = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    for name, ours in NAMES.items():
        assert name in cell
        cell = cell.replace(name, ours)
    script = tmp_path / "cell.py"
    script.write_text(cell + WORK)
    ended = subprocess.run(
        [sys.executable, script],
        cwd=tmp_path,
        env=slurm.environment,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    assert "#SBATCH -p main" in ended.stdout
    assert ended.stdout.endswith("1\nTrue\n")
    assert not slurm.run("squeue", "-h", "-n", "balans-worker", "-t", "PENDING,RUNNING", "-o", "%i")
