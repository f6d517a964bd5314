"""Filling a target database, which restore and copy share."""
