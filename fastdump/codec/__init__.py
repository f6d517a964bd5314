"""The formats of bytes: BSON framing and gzip members. No files, no servers."""
