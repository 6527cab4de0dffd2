#!/usr/bin/env bash
# Uses the server as a host would, through the MCP Inspector and so the TypeScript SDK, in both eras of the protocol: over stdio,
# and over HTTP with a token.
set -euo pipefail
cd "$(dirname "$0")/../.."
source tests/conformance/servers.sh

start_simulator inspector
inspector=$(npx -y -p @modelcontextprotocol/inspector@2.12.0 -c 'command -v mcp-inspector')

# ask ARGUMENTS...: the answer of one request, as JSON; a tool's error or a bad schema ends the script
ask() {
    "$inspector" --cli "${server[@]}" --protocol-era "$era" --format json "$@" </dev/null 2>"$home/inspector.log"
}

# expect WHAT PATTERN ARGUMENTS...: asks, and insists that PATTERN is in the answer
expect() {
    local what=$1 pattern=$2
    shift 2
    if ! answer=$(ask "$@"); then
        echo "It $what: no. $answer" >&2
        cat "$home/inspector.log" >&2
        exit 1
    elif ! grep -Eq -- "$pattern" <<<"$answer"; then
        echo "It $what: no '$pattern' in the answer: $answer" >&2
        exit 1
    fi
    echo "  $what"
}

# Over stdio each request has a server of its own.
over_stdio=(
    "$BIN/python" -m flux2_mcp
    -e "HOME=$home" -e "RUNAPI_BASE_URL=$RUNAPI_BASE_URL" -e "RUNAPI_API_KEY=$RUNAPI_API_KEY"
)
port=$(free_port)
token=$("$BIN/flux2-mcp" token add ada)
FLUX2_HTTP_AUTH=tokens start server "$port" "$BIN/flux2-mcp" serve --http --port "$port"
over_http=("http://127.0.0.1:$port/mcp" --transport http --header "Authorization: Bearer $token")

for way in stdio http; do
for era in legacy modern; do
    if [ "$way" = stdio ]; then server=("${over_stdio[@]}"); else server=("${over_http[@]}"); fi
    echo "The Inspector over $way, $era era ..."
    # --strict: no schema that some hosts cannot read
    expect "lists its tools" '"generate"' --method tools/list --strict
    expect "paints" 'task_id' --method tools/call --tool-name generate \
        --tool-args-json "{\"prompt\": \"a red fox, $way, $era\", \"wait_seconds\": 20}"
    task_id=$("$BIN/python" -c '
import re, sys
print(re.search(r"""task_id[\\"'"'"'\s:=]+([\w-]+)""", sys.stdin.read()).group(1))' <<<"$answer")
    expect "finds the task again" "$task_id" --method tools/call --tool-name task_status \
        --tool-args-json "{\"task_id\": \"$task_id\"}"
    expect "shows pictures in the gallery" '"resourceUri":"ui://flux2/gallery.html"' --method tools/list --app-info
    expect "lists the gallery's tools for apps" '"gallery_search"' --method tools/list --advertise-apps
    expect "reads the gallery" 'profile=mcp-app' --method resources/read --uri ui://flux2/gallery.html
    expect "lists its resources" 'flux2://pricing' --method resources/list
    expect "knows its prices" 'contents' --method resources/read --uri flux2://pricing
    expect "knows its models" 'contents' --method resources/read --uri flux2://models
done
done
