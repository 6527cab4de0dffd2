# docker build -t flux2-mcp .
# docker run -i --rm -e RUNAPI_API_KEY -v flux2:/data flux2-mcp
# With no arguments it speaks MCP over stdio; `flux2-mcp serve --help` says how to serve it over HTTP.

FROM python:3.13-slim AS build
WORKDIR /source
RUN python -m venv /opt/flux2-mcp
COPY constraints.txt .
COPY pyproject.toml README.md LICENSE ./
COPY flux2_mcp flux2_mcp
# A wheel, not the source tree: what runs here is what is published. pip compiles it, so that no start pays for that.
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels . \
 && /opt/flux2-mcp/bin/pip install --no-cache-dir --compile -c constraints.txt /wheels/*.whl

FROM python:3.13-slim
LABEL org.opencontainers.image.title="flux2-mcp" \
      org.opencontainers.image.description="An MCP server for RunAPI's Flux 2 image models" \
      org.opencontainers.image.source="https://github.com/flux2-mcp/flux2-mcp" \
      org.opencontainers.image.documentation="https://github.com/flux2-mcp/flux2-mcp/tree/main/docs" \
      org.opencontainers.image.licenses="Apache-2.0" \
      io.modelcontextprotocol.server.name="io.github.flux2-mcp/flux2-mcp"
# Pictures and history both live in /data. With --user "$(id -u)" the files in a mounted folder belong to whoever started it.
RUN useradd --uid 10001 --home-dir /data --create-home flux2 \
 && install -d -o flux2 -g flux2 /data/pictures
COPY --from=build /opt/flux2-mcp /opt/flux2-mcp
# Tells the server that a file which is on no mount is seen by nobody outside.
RUN touch /opt/flux2-mcp/image
ENV HOME=/data \
    FLUX2_OUTPUT_DIR=/data/pictures \
    PATH=/opt/flux2-mcp/bin:$PATH \
    PYTHONUNBUFFERED=1
USER flux2
WORKDIR /data
ENTRYPOINT ["flux2-mcp"]
