"""The stages of unsupervised learning, one file each."""
