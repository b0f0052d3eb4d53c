"""CION end to end."""
