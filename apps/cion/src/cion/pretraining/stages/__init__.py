"""The stages of CION pre-training, one file each."""
