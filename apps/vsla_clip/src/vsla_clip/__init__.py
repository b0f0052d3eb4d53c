"""VSLA-CLIP end to end."""
