"""What this server adds to RunAPI's own time and requests. Each module is a command, and `make bench` runs all."""
