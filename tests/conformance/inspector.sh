#!/usr/bin/env bash
# Uses the server over stdio as a host would, through the MCP Inspector, in both eras of the protocol.
set -euo pipefail
cd "$(dirname "$0")/../.."
source tests/conformance/servers.sh

start_simulator inspector
inspector=$(npx -y -p @modelcontextprotocol/inspector@2.12.0 -c 'command -v mcp-inspector')

# ask ARGUMENTS...: the answer of one request to a server of its own, as JSON; a tool's error or a bad schema ends the script
ask() {
    "$inspector" --cli "$BIN/python" -m flux2_mcp --protocol-era "$era" --format json \
        -e "HOME=$home" -e "RUNAPI_BASE_URL=$RUNAPI_BASE_URL" -e "RUNAPI_API_KEY=$RUNAPI_API_KEY" \
        "$@" </dev/null 2>"$home/inspector.log"
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

for era in legacy modern; do
    echo "The Inspector, $era era ..."
    # --strict: no schema that some hosts cannot read
    expect "lists its tools" '"generate"' --method tools/list --strict
    expect "paints" 'task_id' --method tools/call --tool-name generate \
        --tool-args-json "{\"prompt\": \"a red fox, $era\", \"wait_seconds\": 20}"
    task_id=$("$BIN/python" -c '
import re, sys
print(re.search(r"""task_id[\\"'"'"'\s:=]+([\w-]+)""", sys.stdin.read()).group(1))' <<<"$answer")
    expect "finds the task again" "$task_id" --method tools/call --tool-name task_status \
        --tool-args-json "{\"task_id\": \"$task_id\"}"
    expect "lists its resources" 'flux2://pricing' --method resources/list
    expect "knows its prices" 'contents' --method resources/read --uri flux2://pricing
    expect "knows its models" 'contents' --method resources/read --uri flux2://models
done
