"""The demo: Komodo-shaped data on a throw-away server, backed up, restored and compared."""
