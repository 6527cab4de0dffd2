"""What Claude Desktop runs: the server that lies beside this file."""

from flux2_mcp.__main__ import main

if __name__ == "__main__":
    main()
