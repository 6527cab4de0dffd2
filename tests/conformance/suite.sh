#!/usr/bin/env bash
# The protocol's own conformance suite against `flux2-mcp serve --http`, once for each revision that we speak: as it serves one
# person, and as it serves many, who send a token. The tools, resources and prompts that the suite asks for are mounted on it.
set -euo pipefail
cd "$(dirname "$0")/../.."
source tests/conformance/servers.sh

results=build/conformance
rm -rf "$results"
mkdir -p "$results"

# conforms WHO URL REVISION: runs the suite; its results are in $results/WHO-REVISION
conforms() {
    local who=$1 url=$2 revision=$3 passed=yes expected=()
    local result=$results/$who-$revision excused=tests/conformance/expected-failures-$revision-$who.yml
    echo "Conformance of a server for $who with $revision ..."
    [ ! -e "$excused" ] || expected=(--expected-failures "$excused")
    # The suite needs Node 22; npm brings it where the machine has an older one.
    npx -y -p node@22 -p @modelcontextprotocol/conformance@0.2.0-alpha.12 conformance server \
        --url "$url" \
        --requirements "$revision" \
        "${expected[@]}" \
        --output-dir "$result" >"$result.log" 2>&1 || passed=no

    if [ "$passed" = no ]; then
        # Without a summary the suite itself did not run, and its last words say why.
        { grep -q '=== SUMMARY' "$result.log" && sed -n '/=== SUMMARY/,$p' || tail -n 30; } <"$result.log" >&2
        cp "$home"/*.log "$results/"
        echo "flux2-mcp for $who does not conform to $revision. What was sent and answered: $result" >&2
        exit 1
    fi
    echo "  $(sed -n 's/^Total: \([0-9]*\) passed.*/\1/p' "$result.log") checks passed; what did not is required of nobody, or excused here"
}

# with_fixtures NAME PORT: starts `flux2-mcp serve --http` with the fixtures
with_fixtures() {
    PYTHONPATH=$PWD start "$1" "$2" "$BIN/python" -m tests.conformance.serve_fixtures --port "$2"
}

start_simulator conformance
port=$(free_port)
with_fixtures server "$port"

token=$("$BIN/flux2-mcp" token add ada)
hosted=$(free_port)
FLUX2_HTTP_AUTH=tokens with_fixtures hosted "$hosted"
# The suite has no option for a header.
proxy=$(free_port)
start proxy "$proxy" "$BIN/python" tests/conformance/with_token.py "$proxy" "http://127.0.0.1:$hosted" "$token"

for revision in 2025-11-25 2026-07-28; do
    conforms one "http://127.0.0.1:$port/mcp" "$revision"
    conforms many "http://127.0.0.1:$proxy/mcp" "$revision"
done
