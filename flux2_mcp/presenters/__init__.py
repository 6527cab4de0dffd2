"""What there is to tell, as words, lines and data; for every surface, so they know no MCP."""
