"""The command restore."""
