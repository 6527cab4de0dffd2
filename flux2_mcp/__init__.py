"""An MCP server for RunAPI's Flux 2 image models."""

__version__ = "0.1.0"
