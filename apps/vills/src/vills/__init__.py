"""VILLS end to end: prepare, LSE, pre-train, fine-tune, evaluate."""
