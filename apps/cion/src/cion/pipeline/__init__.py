"""CION's recipe: tracked video, features, denoised identities, pre-training, fine-tuning, evaluation."""
