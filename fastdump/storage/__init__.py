"""Bytes under keys, wherever they are kept. This room knows nothing of databases or backups."""
