# Sourced by the scripts beside it: servers on loopback, in a home of their own, gone when the script ends.

export npm_config_loglevel=error npm_config_update_notifier=false npm_config_fund=false npm_config_audit=false

for tool in node npx; do
    if ! command -v "$tool" >/dev/null; then
        echo "This check needs Node.js 20 or newer with npm, and '$tool' is not here. See https://nodejs.org." >&2
        exit 1
    fi
done

: "${BIN:=.venv/bin}"
BIN=$(cd "$BIN" && pwd)
home=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null; wait; rm -rf "$home"' EXIT

# Nothing of the person who runs this: no key, no history, no pictures folder. npm's cache is left where it is.
npm_config_cache=$(npm config get cache)
export npm_config_cache HOME=$home
unset XDG_CACHE_HOME XDG_CONFIG_HOME XDG_DATA_HOME XDG_STATE_HOME
for name in $(compgen -v | grep -E '^(FLUX2|RUNAPI)_'); do unset "$name"; done

free_port() {
    "$BIN/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# start NAME PORT COMMAND...: returns when something listens on PORT
start() {
    local name=$1 port=$2 log=$home/$1.log tries
    shift 2
    "$@" >"$log" 2>&1 </dev/null &
    local pid=$!
    for tries in $(seq 150); do
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && return 0
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.2
    done
    echo "The $name does not listen on port $port. It said:" >&2
    cat "$log" >&2
    exit 1
}

start_simulator() {
    local port
    port=$(free_port)
    start simulator "$port" "$BIN/flux2-mcp" simulate --port "$port"
    export RUNAPI_BASE_URL=http://127.0.0.1:$port RUNAPI_API_KEY=runapi_$1
}
