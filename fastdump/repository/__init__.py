"""Backups as pieces, each of which is stored once, in a folder or an object store."""
