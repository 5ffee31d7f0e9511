#!/usr/bin/env bash
# Closes Mizar's whole loop on this machine: a cloud event becomes an MPI job over two nodes of a
# private Slurm, watched by the plugin and by mizard, and its result, report and provenance come
# back.
#
# Called by `make demo`, which has brought packages and Python readers. Writes to the cache folder
# only (MIZAR_DEMO_DIR names another place); stops everything it started, however it ends.
# Exit codes: 0 the loop closed, 1 something on the way failed and was named.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/mizar
out=${MIZAR_DEMO_DIR:-$cache/demo}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$cache/target}
programs=$CARGO_TARGET_DIR/debug
venv=${MIZAR_VENV:-$cache/venv}
lab=$out/lab
# How long each stage may take, in seconds.
lab_start_s=20
gateway_start_s=20
job_end_s=120
record_end_s=120
# On a machine so busy that the epilog's word is lost, mizard sees the end by itself; sooner than
# a site would have it.
job_idle_end_s=10

# A daily field of CMIP6 and a yearly one of a climate scenario, inside the environment's
# site-packages.
cmip6=esmvaltool_sample_data/data/timeseries/CMIP6/CMIP/IPSL/IPSL-CM6A-LR/historical/r1i1p1f1
cmip6=$cmip6/day/ta/gr/v20180803
cmip6=$cmip6/ta_day_IPSL-CM6A-LR_historical_r1i1p1f1_gr_19500101-20141231.nc
scenario=iris_sample_data/sample_data/A1B_north_america.nc

step() { printf '\n==> %s\n' "$*"; }
fail() {
    printf '\nThe demo failed: %s\n' "$*" >&2
    printf 'Logs: %s and %s\n' "$out/gateway.log" "$lab/log" >&2
    exit 1
}

# Runs a command until it succeeds, for so many seconds; its output is that of the last try.
wait_for() {
    local limit_s=$1 end
    shift
    end=$((SECONDS + limit_s))
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.2
    done
}

gateway_pid=
lab_starting=
stop() {
    local status=$?
    trap - EXIT
    if [ -n "$gateway_pid" ]; then
        kill "$gateway_pid" 2>/dev/null || true
        wait "$gateway_pid" 2>/dev/null || true
    fi
    # A lab that was interrupted while it started goes on starting: it is stopped when it is up.
    [ -z "$lab_starting" ] || wait_for "$lab_start_s" test -e "$lab/lab.json" || true
    [ ! -x "$programs/mizar-lab" ] || "$programs/mizar-lab" down --dir "$lab" >/dev/null || status=1
    exit "$status"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

build() {
    step "building Mizar (the first time takes some minutes)"
    cargo build --manifest-path "$root/Cargo.toml" \
        -p mizar-cli -p mizar-agent -p mizar-gateway -p mizar-lab -p spank-mizar
}

prepare() {
    step "putting real data into the bucket"
    # Only what an earlier demo made is removed.
    rm -rf "$out/bucket" "$out/results" "$out/gateway" "$out/gateway.log" "$out/gateway.toml"
    mkdir -p "$out/bucket" "$out/results" "$out/gateway"
    local packages sample
    packages=$(echo "$venv"/lib/python3.*/site-packages)
    for sample in "$cmip6" "$scenario"; do
        cp "$packages/$sample" "$out/bucket/" || fail "the sample data is not in $packages"
        echo "    $out/bucket/$(basename "$sample")"
    done
}

start_lab() {
    step "starting a private Slurm with two nodes, the plugin, and a mizard on each"
    lab_starting=yes
    "$programs/mizar-lab" up --dir "$lab" --nodes 2 --mizard "job_idle_end_s=$job_idle_end_s" \
        >"$out/lab.txt" || fail "the lab did not start"
    lab_starting=
    # shellcheck disable=SC1090 # written by the lab
    . "$("$programs/mizar-lab" env --dir "$lab")"
    sinfo
}

start_gateway() {
    step "starting the gateway: events of new files become jobs"
    token=$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')
    (umask 077 && printf '%s\n' "$token" >"$out/gateway/tokens")
    cat >"$out/gateway/services.toml" <<TOML
[[service]]
name = "climatology"
script = "$root/tests/demo/climatology.sbatch"
filter = { type = "org.example.file.published", prefix = "ta_day_", suffix = ".nc" }
args = [
  { name = "input", type = "path", from = "subject", under = "$out/bucket" },
  { name = "folder", value = "$out/results" },
]

[[service]]
name = "warming"
script = "$root/tests/demo/warming.sbatch"
filter = { type = "org.example.file.published", prefix = "A1B_", suffix = ".nc" }
args = [
  { name = "input", type = "path", from = "subject", under = "$out/bucket" },
  { name = "folder", value = "$out/results" },
]
TOML
    # Port 0: the system chooses a free one, and the log says which.
    cat >"$out/gateway.toml" <<TOML
listen = "127.0.0.1:0"
state_dir = "gateway"
work_dir = "gateway/jobs"
services = ["gateway/services.toml"]
token_file = "gateway/tokens"
slurm = { poll_ms = 500 }
TOML
    "$programs/mizar-gateway" --config "$out/gateway.toml" --check-config >"$out/gateway/checked.toml"
    "$programs/mizar-gateway" --config "$out/gateway.toml" serve >"$out/gateway.log" 2>&1 &
    gateway_pid=$!
    wait_for "$gateway_start_s" gateway_listens || fail "the gateway did not start"
    echo "listening at $address"
}

gateway_listens() {
    address=$(sed -n 's/.*"address":"\([^"]*\)".*/\1/p' "$out/gateway.log" | head -n 1)
    [ -n "$address" ]
}

# Prints one CloudEvent in structured JSON: its id and the file it is about.
event() {
    printf '{"specversion": "1.0", "id": "%s", "source": "/demo/bucket", ' "$1"
    printf '"type": "org.example.file.published", "subject": "%s"}' "$(basename "$2")"
}

# Posts both events as one batch.
post_events() {
    curl --silent --show-error --fail-with-body --max-time 10 "http://$address/events" \
        --header "Authorization: Bearer $token" \
        --header 'Content-Type: application/cloudevents-batch+json' \
        --data "[$(event demo-1 "$cmip6"), $(event demo-2 "$scenario")]" ||
        fail "the gateway refused the events"
    echo
}

gateway() { "$programs/mizar-gateway" --config "$out/gateway.toml" "$@"; }

# Prints a field of the ledger's jobs, one a line, or of those of one service.
job_field() {
    gateway jobs --json ${2:+--service "$2"} | "$venv/bin/python" -c 'import json, sys
for job in json.load(sys.stdin)["jobs"]:
    print(job[sys.argv[1]])' "$1"
}

jobs_ended() {
    local states
    states=$(job_field state | tr '\n' ' ')
    [ "$states" = "$shown" ] || printf '    %s\n' "$states"
    shown=$states
    ! grep -qE 'received|submitting|unsure|submitted|running' <<<"$states"
}

run_jobs() {
    step "posting two CloudEvents, and the same ones again"
    post_events
    post_events
    step "waiting for their jobs"
    shown=
    wait_for "$job_end_s" jobs_ended || fail "the jobs did not end within $job_end_s s"
    gateway jobs
    if [ "$shown" != "completed completed " ]; then
        find "$out/gateway/jobs" -type f ! -name event.json -exec tail -n 20 {} + >&2
        fail "not every event became one job that completed"
    fi
}

record_is_whole() { [ -s "$1/job.h5" ] && [ -s "$1/prov.json" ]; }

# Brings the report of a service's job and reads its provenance as others would.
show_record() {
    local job record
    job=$(job_field slurm_job "$1")
    record=$MIZAR_RECORD_DIR/$job
    wait_for "$record_end_s" record_is_whole "$record" || {
        ls -l "$record" >&2 || true
        tail -n 20 "$lab"/log/mizard.*.log >&2 || true
        fail "the record in $record is not complete"
    }
    "$programs/mizar" report "$job" --html "$out/results/$1.html" >/dev/null || fail "there is no report"
    "$programs/mizar" report "$job" >"$out/results/$1.txt" || fail "there is no report"
    cp "$record/prov.json" "$out/results/$1.prov.json"
    cp "$record/job.h5" "$out/results/$1.telemetry.h5"
    "$venv/bin/python" -c 'import prov.model, sys
document = prov.model.ProvDocument.deserialize(sys.argv[1])
print("    PROV of %s: %d statements, read by the Python package prov"
      % (sys.argv[2], len(document.get_records())))' "$record/prov.json" "$1" ||
        fail "the provenance is not PROV-JSON"
}

# Draws a variable of a result as a map.
draw() {
    [ -s "$1" ] || fail "there is no $1"
    "$programs/mizar" plot "$1" "$2" --output "${1%.nc}.svg" >/dev/null || fail "the map was not drawn"
}

show_results() {
    step "what came back"
    climatology=$out/results/$(basename "$cmip6" .nc).climatology.nc
    warming=$out/results/$(basename "$scenario" .nc).warming.nc
    draw "$climatology" ta
    draw "$warming" air_temperature
    show_record climatology
    show_record warming
    sed -n '1,/^Ranks/p' "$out/results/climatology.txt" | sed '$d'
}

build
prepare
start_lab
start_gateway
run_jobs
show_results

step "the loop is closed: two events became two jobs, each over two nodes"
cat <<TXT
    results      $climatology
                 $warming
    maps         ${climatology%.nc}.svg
                 ${warming%.nc}.svg
    reports      $out/results/climatology.html (.txt)
                 $out/results/warming.html (.txt)
    provenance   $out/results/climatology.prov.json, warming.prov.json
    telemetry    $out/results/climatology.telemetry.h5, warming.telemetry.h5
Stopping everything; the files stay. Took ${SECONDS} s.
TXT
