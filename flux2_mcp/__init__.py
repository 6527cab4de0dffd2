"""An MCP server for RunAPI's Flux 2 image models."""

__version__ = "1.0.0"
