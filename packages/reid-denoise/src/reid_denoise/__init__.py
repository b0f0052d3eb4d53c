"""Progressive multi-level denoising: identities out of noisy tracklets (CION)."""
