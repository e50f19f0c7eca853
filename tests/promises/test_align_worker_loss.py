"""Workers that die in a pass of `align`: time is lost, and no byte changes."""

import pytest

from balans_dask.cluster.open import open_client
from balans_dask.cluster.request import ClusterRequest
from tests.promises.test_align_invariance import THIRDS, assert_identical, found_by
from tests.promises.test_worker_loss import KillingEngine

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*covered by no sampled row"),
    pytest.mark.long,
]
PASSES = [
    "matches", "pairs", "pairs-merge", "met", "met-merge", "batch-sums", "batch-sums-merge",
    "sides", "places", "gates", "moves", "offsets", "fields", "scale-moments", "field", "factor",
    "correct",
]  # fmt: skip


@pytest.fixture(scope="module")
def expected(engine):
    return found_by(engine)


def test_a_worker_killed_in_any_pass_changes_no_bit(expected):
    with open_client(ClusterRequest("local", 2, "2GB")) as client:
        for name in PASSES:
            client.wait_for_workers(2, timeout=60)
            engine = KillingEngine(client)
            engine.victim = name
            assert_identical(found_by(engine, THIRDS, 1), expected)
            assert engine.victim == "", f"{name} never ran"
