"""What tests share: a dense reference, small screens, stores, commands, servers, hostile inputs."""

from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
