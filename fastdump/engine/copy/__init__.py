"""The command copy."""
