#!/usr/bin/env bash
# The protocol's own conformance suite against `flux2-mcp serve --http`, once for each revision that we speak.
set -euo pipefail
cd "$(dirname "$0")/../.."
source tests/conformance/servers.sh

results=build/conformance
rm -rf "$results"
mkdir -p "$results"

start_simulator conformance
port=$(free_port)
start server "$port" "$BIN/flux2-mcp" serve --http --port "$port"

for revision in 2025-11-25 2026-07-28; do
    echo "Conformance with $revision ..."
    passed=yes
    # The suite needs Node 22; npm brings it where the machine has an older one.
    npx -y -p node@22 -p @modelcontextprotocol/conformance@0.2.0-alpha.12 conformance server \
        --url "http://127.0.0.1:$port/mcp" \
        --requirements "$revision" \
        --expected-failures "tests/conformance/expected-failures-$revision.yml" \
        --output-dir "$results/$revision" >"$results/$revision.log" 2>&1 || passed=no

    if [ "$passed" = no ]; then
        # Without a summary the suite itself did not run, and its last words say why.
        { grep -q '=== SUMMARY' "$results/$revision.log" && sed -n '/=== SUMMARY/,$p' || tail -n 30; } \
            <"$results/$revision.log" >&2
        cp "$home/server.log" "$results/"
        echo "flux2-mcp does not conform to $revision. What was sent and answered: $results" >&2
        exit 1
    fi
    echo "  $(sed -n 's/^Total: \([0-9]*\) passed.*/\1/p' "$results/$revision.log") checks passed; the rest is what the file of expected failures says"
done
