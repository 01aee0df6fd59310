"""Whole jobs, from split to folder."""
