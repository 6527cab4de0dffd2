"""The least server that the SDK makes: what ours is measured beside."""

from __future__ import annotations

from mcp.server.mcpserver import MCPServer


def main() -> None:
    """Serve one tool over stdio."""
    server = MCPServer("bare")

    @server.tool()
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    server.run("stdio")


if __name__ == "__main__":
    main()
