"""Exact evaluation of person re-identification."""
