"""RunAPI in types: one method per endpoint, and nothing that knows about MCP.

`client` opens connections and loads httpx; import it where the first request is made.
"""
