"""The Python API: one function for each command, each of which returns a report."""
