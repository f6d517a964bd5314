"""Formats of bytes: BSON framing, gzip members, archives, Extended JSON. No files, no servers."""
