"""The stages of VILLS, one file each."""
