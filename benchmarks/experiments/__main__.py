"""Run one experiment: python -m benchmarks.experiments NAME [--size tiny|small|full] [--resume]."""

import sys

from benchmarks.experiments.results_page import NAMES
from benchmarks.experiments.run_all import experiment

if len(sys.argv) < 2 or sys.argv[1] not in NAMES:
    sys.exit(f"name one of: {', '.join(NAMES)}")
experiment(sys.argv[1]).main(sys.argv[2:])
