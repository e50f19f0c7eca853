"""What one pass of a run leaves in the run's folder."""

from pathlib import Path

from balans_dask.io.files import remove_file, remove_tree

__all__ = ["PassFolder"]


class PassFolder:
    """Checkpoint, manifest and store of one pass.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.store = path / "store"
        self.units = path / "units"
        self.checkpoint = path / "checkpoint.npz"

    @property
    def begun(self) -> bool:
        """Whether there is anything to continue."""
        return self.checkpoint.exists() or self.units.exists()

    def clear(self) -> None:
        """Forget what was done."""
        self.clear_store()
        remove_file(self.checkpoint)

    def clear_store(self) -> None:
        """Forget what was written; the checkpoint stays."""
        for path in (self.units, self.store):
            remove_tree(path)
