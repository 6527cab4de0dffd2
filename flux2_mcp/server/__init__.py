"""The MCP surface; thin."""
