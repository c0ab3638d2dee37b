"""Where a pipeline runs: on this machine (local), or elsewhere."""
