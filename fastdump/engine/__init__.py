"""The work behind each command: plans, worker processes, and the way between server and backup."""
