# docker build -t flux2-mcp .
# docker run -i --rm -e RUNAPI_API_KEY -v flux2:/data flux2-mcp
# With no arguments it speaks MCP over stdio. For many over HTTP: compose.yaml, deploy/kubernetes.yaml, docs/hosting.md.
# It writes to /data and /tmp only: docker run -i --rm --read-only --tmpfs /tmp -e RUNAPI_API_KEY -v flux2:/data flux2-mcp

FROM python:3.13-slim AS build
WORKDIR /source
RUN python -m venv /opt/flux2-mcp
COPY constraints.txt .
COPY pyproject.toml README.md LICENSE ./
COPY flux2_mcp flux2_mcp
# A wheel, not the source tree: what runs here is what is published. pip compiles it, so that no start pays for that.
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels . \
 && /opt/flux2-mcp/bin/pip install --no-cache-dir --compile -c constraints.txt "$(echo /wheels/*.whl)[postgres,otel]"

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
COPY docs/licences.md /opt/flux2-mcp/THIRD_PARTY.md
# Python's image brings its library uncompiled, and a read-only container would compile it anew at every start: 2 s.
RUN /usr/local/bin/python -m compileall -q "$(/usr/local/bin/python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"
# Tells the server that a file which is on no mount is seen by nobody outside.
RUN touch /opt/flux2-mcp/image
ENV HOME=/data \
    FLUX2_OUTPUT_DIR=/data/pictures \
    PATH=/opt/flux2-mcp/bin:$PATH \
    PYTHONUNBUFFERED=1
# By number: Kubernetes can see then that it is not root.
USER 10001
WORKDIR /data
# `serve --http --host 0.0.0.0` listens there. No HEALTHCHECK: over stdio there is no port, and every container that a host
# starts would be called unhealthy. compose.yaml and deploy/kubernetes.yaml have theirs.
EXPOSE 8765
# Over HTTP calls in flight get 2 s then, and an answer; nothing takes longer than 5 s.
STOPSIGNAL SIGTERM
ENTRYPOINT ["flux2-mcp"]
