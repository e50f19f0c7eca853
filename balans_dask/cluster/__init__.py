"""Where the work runs: this process, processes, a scheduler, jobs of a batch system, one srun."""
