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
gateway_start_s=20
job_end_s=120
record_end_s=30

sample=timeseries/CMIP6/CMIP/IPSL/IPSL-CM6A-LR/historical/r1i1p1f1/day/ta/gr/v20180803
sample=$sample/ta_day_IPSL-CM6A-LR_historical_r1i1p1f1_gr_19500101-20141231.nc

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
stop() {
    local status=$?
    trap - EXIT
    if [ -n "$gateway_pid" ]; then
        kill "$gateway_pid" 2>/dev/null || true
        wait "$gateway_pid" 2>/dev/null || true
    fi
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
    step "bringing the CMIP6 sample"
    local data
    data=$(echo "$venv"/lib/python3.*/site-packages/esmvaltool_sample_data/data)
    [ -f "$data/$sample" ] || fail "the CMIP6 sample is not in $data"
    # Only what an earlier demo made is removed.
    rm -rf "$out/bucket" "$out/results" "$out/gateway" "$out/gateway.log" "$out/gateway.toml"
    mkdir -p "$out/bucket" "$out/results"
    input=$out/bucket/$(basename "$sample")
    cp "$data/$sample" "$input"
    ncdump -h "$input" | grep -E '^\s(float ta|time = |.*ta:long_name|.*:source_id)' | head -n 4
}

start_lab() {
    step "starting a private Slurm with two nodes, the plugin, and a mizard on each"
    "$programs/mizar-lab" up --dir "$lab" --nodes 2 || fail "the lab did not start"
    # shellcheck disable=SC1090 # written by the lab
    . "$("$programs/mizar-lab" env --dir "$lab")"
    sinfo
}

start_gateway() {
    step "starting the gateway: events of new objects in the bucket become climatology jobs"
    mkdir -p "$out/gateway"
    token=$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')
    (umask 077 && printf '%s\n' "$token" >"$out/gateway/tokens")
    cat >"$out/gateway/services.toml" <<TOML
[[service]]
name = "climatology"
script = "$root/tests/demo/climatology.sbatch"
filter = { type = "org.cmip6.file.published", suffix = ".nc" }
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
    address=$(sed -n 's/.*address=\([0-9.]*:[0-9]*\).*/\1/p' "$out/gateway.log" | head -n 1)
    [ -n "$address" ]
}

# Posts the event: a CloudEvent in binary mode, as a storage system sends it.
post_event() {
    curl --silent --show-error --fail-with-body --max-time 10 "http://$address/events" \
        --header "Authorization: Bearer $token" \
        --header 'ce-specversion: 1.0' \
        --header 'ce-id: demo-1' \
        --header 'ce-source: /demo/bucket' \
        --header 'ce-type: org.cmip6.file.published' \
        --header "ce-subject: $(basename "$input")" \
        --header 'Content-Type: application/json' \
        --data "{\"bytes\": $(stat -c %s "$input")}" || fail "the gateway refused the event"
    echo
}

# Prints one field of the only job in the ledger.
job_field() {
    "$programs/mizar-gateway" --config "$out/gateway.toml" jobs --json |
        "$venv/bin/python" -c 'import json, sys
jobs = json.load(sys.stdin)["jobs"]
print(jobs[0][sys.argv[1]] if jobs and jobs[0][sys.argv[1]] is not None else "")' "$1"
}

job_ended() {
    local state
    state=$(job_field state)
    [ "$state" = "$shown" ] || printf '    %s\n' "$state"
    shown=$state
    case $state in completed | failed | cancelled | vanished | dead) return 0 ;; esac
    return 1
}

run_job() {
    step "posting a CloudEvent that names the file, and the same one again"
    post_event
    post_event
    step "waiting for its job"
    shown=
    wait_for "$job_end_s" job_ended || fail "the job did not end within $job_end_s s"
    job=$(job_field slurm_job)
    if [ "$shown" != completed ]; then
        find "$out/gateway/jobs" -name '*.out' -exec cat {} + >&2
        fail "the job's state is $shown: $(job_field reason)"
    fi
    "$programs/mizar-gateway" --config "$out/gateway.toml" status
    count=$("$programs/mizar-gateway" --config "$out/gateway.toml" jobs --json | grep -o '"marker"' | wc -l)
    [ "$count" = 1 ] || fail "one event made $count jobs"
}

record_is_whole() { [ -s "$record/job.h5" ] && [ -s "$record/prov.json" ]; }

show_results() {
    step "what came back"
    record=$MIZAR_RECORD_DIR/$job
    wait_for "$record_end_s" record_is_whole || fail "the record in $record is not complete"
    local name
    name=$(basename "$input" .nc)
    result=$out/results/$name.climatology.nc
    map=$out/results/$name.climatology.png
    page=$out/results/job-$job.html
    summary=$out/results/job-$job.txt
    [ -s "$result" ] || fail "there is no $result"
    "$programs/mizar" plot "$result" "$map" || fail "the map was not drawn"
    "$programs/mizar" report "$job" --html "$page" >/dev/null || fail "there is no report"
    "$programs/mizar" report "$job" >"$summary" || fail "there is no report"
    "$venv/bin/python" -c 'import prov.model, sys
document = prov.model.ProvDocument.deserialize(sys.argv[1])
print("PROV:", len(document.get_records()), "statements, read by the Python package prov")' \
        "$record/prov.json" || fail "the provenance is not PROV-JSON"
    cat "$summary"
}

build
prepare
start_lab
start_gateway
run_job
show_results

step "the loop is closed: event demo-1 became Slurm job $job on two nodes"
cat <<TXT
    result       $result
    map          $map
    report       $page
                 $summary
    provenance   $record/prov.json
    telemetry    $record/job.h5
    event        $out/gateway/jobs (the event as the job got it, and its output)
Stopping everything; the files stay. Took ${SECONDS} s.
TXT
