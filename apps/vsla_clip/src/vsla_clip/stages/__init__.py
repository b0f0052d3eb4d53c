"""VSLA-CLIP's stages, one module per stage."""
