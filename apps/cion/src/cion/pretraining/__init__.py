"""CION pre-training: tracklets, denoised identities, self-distillation, fine-tuning, evaluation."""
