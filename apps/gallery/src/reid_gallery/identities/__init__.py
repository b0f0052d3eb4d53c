"""Who is who in videos: one person, one number, over all cameras. A file per step, `run` in their order."""
