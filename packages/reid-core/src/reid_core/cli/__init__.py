"""The command lines `reid-data` and `reid-models`."""
