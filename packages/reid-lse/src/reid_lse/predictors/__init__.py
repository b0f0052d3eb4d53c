"""Keypoint predictors, one file each; `reid_lse.models` has the table of their names."""
