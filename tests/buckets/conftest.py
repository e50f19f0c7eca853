"""A bucket of a real S3 server, and the environment in which it is found."""

from collections.abc import Iterator
from itertools import count

import numpy as np
import pandas as pd
import pytest

from tests.support.commands import run
from tests.support.s3_server import Bucket, Server, s3_server
from tests.support.screens import gaussian_screen

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "NO_PROXY": "127.0.0.1",
    "no_proxy": "127.0.0.1",
}
BATCH = ("--batch-key", "Metadata_Plate")
_numbers = count()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    for name in ("moto", "s3fs", "upath"):
        pytest.importorskip(name, reason="needs moto and the cloud extra: make test-cloud")
    with s3_server() as found, pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        patch.setenv("AWS_ENDPOINT_URL", found.url)
        yield found


@pytest.fixture
def steady(server) -> Iterator[Server]:
    """The server, which behaves again when the test is over."""
    yield server
    server.behave()


@pytest.fixture
def bucket(server) -> Bucket:
    """A new bucket."""
    import boto3

    return Bucket(boto3.client("s3", endpoint_url=server.url), f"bucket-{next(_numbers)}")


@pytest.fixture(scope="session")
def plates(tmp_path_factory):
    """A folder of three plates in parquet, the same as a store, and that store corrected."""
    place = tmp_path_factory.mktemp("plates")
    (place / "plates").mkdir()
    screen = gaussian_screen(40_000, n_features=10)
    for name in np.unique(screen.batch):
        rows = screen.batch == name
        frame = pd.DataFrame(screen.profiles[rows], columns=[f"Cells_{i}" for i in range(10)])
        frame.insert(0, "Metadata_Plate", name)
        frame.insert(1, "Metadata_label", screen.label[rows].astype(str))
        frame.to_parquet(place / "plates" / f"{name}.parquet")
    run("convert", place / "plates", place / "in.zarr")
    smooth = (*BATCH, "--operator", "smooth")
    run("correct", place / "in.zarr", place / "out.zarr", *smooth, "--model", place / "model.zarr")
    return place
