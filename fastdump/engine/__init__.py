"""What the commands do: plans, processes, and the joining of servers and stores."""
