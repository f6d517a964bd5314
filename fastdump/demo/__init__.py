"""The parts of the demo: Komodo-shaped data, and the comparison of two databases."""
