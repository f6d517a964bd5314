"""Storages of bytes under keys, in a folder or elsewhere; they know nothing of backups."""
