"""Set-level adapters and prompts for vision transformers (VSLA-CLIP)."""
