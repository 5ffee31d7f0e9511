#!/usr/bin/env bash
# Installs the system packages that Mizar is built and tested with, on Debian and Ubuntu.
#
# Called by `make packages`, which `make demo` and `make test` begin with. Installs only what
# is missing, so that a repeat is instant and needs no network; starts and enables no service.
# On another system it prints what is needed and stops. Left out: Rust (rustup.rs) and Python
# modules (venv.sh).
#
#   MIZAR_SKIP_PACKAGES=1   look at nothing, install nothing: the packages are the site's care
#   packages.sh --list      print the list and stop
set -euo pipefail

# One package a line: its name, what it is for. A name with "|" is satisfied by either, and the
# first is installed. A name with "?" is left out where the release has no such package: what
# needs it says so when it is skipped.
packages() {
    cat <<'LIST'
build-essential         C compiler for the bundled C libraries (SQLite, libdeflate)
pkg-config              finds the libraries below
make                    this build
git                     commit ids in benchmark results
curl                    posts the demo's event
ca-certificates         crates and Python modules come over TLS
python3-venv            the Python readers that the tests compare with
libclang-dev            bindings to MPI are generated with it
libopenmpi-dev          MPI: headers and library
openmpi-bin             MPI: mpirun and mpicc
libdeflate-dev          the C loop that benches compare with
libhdf5-dev             HDF5: job records and NetCDF-4
hdf5-tools              h5dump and h5repack, used by tests
netcdf-bin              ncdump and nccopy, used by tests
cdo                     the reference that every array operator is compared with
slurmctld               the private cluster: controller
slurmd                  the private cluster: nodes
slurm-client            the private cluster: srun, sbatch, squeue
slurm-wlm-basic-plugins the private cluster: its plugins, PMIx among them
slurmdbd                the private cluster: accounting
slurm-wlm-mysql-plugin  the private cluster: accounting storage
slurmrestd?             the private cluster: REST, one of the ways to submit
slurm-wlm-jwt-plugin?   the private cluster: tokens for it
slurm-wlm-hdf5-plugin?  the private cluster: Slurm's own profiles, which bench-telemetry compares with
libslurm-dev            headers of the Slurm release that the plugin is built against
munge                   the private cluster: credentials
mariadb-server          the private cluster: accounting database
lmod|environment-modules loads the modulefiles
mosquitto               MQTT broker of the gateway's tests, a child process
nats-server?            NATS server of the gateway's tests, a child process
openssl                 a certificate for the broker of the gateway's tests
rabbitmq-server         AMQP and STOMP broker of the gateway's tests, a child process
chromium?               opens the HTML report, as a test
LIST
}

say() { printf '==> %s\n' "$*" >&2; }

# Prints the names that no installed package satisfies.
missing() {
    local installed name first second
    installed=$(dpkg-query -W -f='${binary:Package} ${db:Status-Status}\n' 2>/dev/null |
        sed -n 's/^\([^ :]*\)[^ ]* installed$/\1/p')
    while read -r name _; do
        first=${name%%|*} second=${name##*|}
        grep -qxF -e "${first%\?}" -e "${second%\?}" <<<"$installed" || echo "$name"
    done < <(packages)
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# Debian starts a service when its package is installed. A policy that denies it is put in
# place for the time of the installation, unless the machine has one of its own.
deny_services() {
    policy=/usr/sbin/policy-rc.d
    [ ! -e "$policy" ] || return 0
    printf '#!/bin/sh\n# Temporary: packages are being installed for Mizar, no service starts.\nexit 101\n' |
        as_root tee "$policy" >/dev/null
    trap 'as_root rm -f "$policy"' EXIT
    trap 'exit 130' INT TERM HUP
    as_root chmod 755 "$policy"
}

# Under systemd an installed unit would start with the next boot.
disable_services() {
    [ -d /run/systemd/system ] || return 0
    local unit
    for unit in "$@"; do
        case $unit in
        slurmctld | slurmd | slurmdbd | slurmrestd | munge) as_root systemctl disable --quiet "$unit" || true ;;
        mariadb-server) as_root systemctl disable --quiet mariadb || true ;;
        mosquitto | nats-server | rabbitmq-server)
            as_root systemctl disable --quiet "$unit" || true
            ;;
        esac
    done
}

install_missing() {
    local name available=()
    say "installing $# missing packages: $*"
    if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; then
        say "installing packages needs root: run this as root or install sudo, or install them"
        say "yourself and go on with MIZAR_SKIP_PACKAGES=1"
        exit 1
    fi
    deny_services
    as_root apt-get -qq update >&2
    for name in "$@"; do
        name=${name%%|*}
        if [ "${name%\?}" = "$name" ]; then
            available+=("$name")
        elif [ -n "$(apt-cache policy "${name%\?}" | sed -n 's/^  Candidate: [0-9].*/yes/p')" ]; then
            available+=("${name%\?}")
        else
            say "${name%\?} does not exist in this release: the tests that need it will say so"
        fi
    done
    [ "${#available[@]}" -gt 0 ] || return 0
    as_root env DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l \
        apt-get -qq -o Dpkg::Use-Pty=0 install -y --no-install-recommends "${available[@]}" >&2
    disable_services "${available[@]}"
}

refuse_system() {
    say "this is neither Debian nor Ubuntu, so nothing was installed. Needed, by Debian's names:"
    packages | sed 's/^/    /' >&2
    say "Install them your own way and go on with MIZAR_SKIP_PACKAGES=1, or use Spack: see"
    say "spack/README.md."
    exit 1
}

main() {
    if [ "${1:-}" = --list ]; then
        packages
        return
    fi
    [ "${MIZAR_SKIP_PACKAGES:-0}" != 1 ] || return 0
    if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
        refuse_system
    fi
    local names
    names=$(missing)
    # An optional package that this release lacks must not cost a network round trip each time.
    if [ -z "$names" ] || { ! grep -qv '?$' <<<"$names" && [ -f "$stamp" ] &&
        [ "$(cat "$stamp")" = "$names" ]; }; then
        say "packages: all there"
        return
    fi
    # shellcheck disable=SC2086 # one name a word
    install_missing $names
    mkdir -p "$(dirname "$stamp")"
    missing >"$stamp"
    say "packages: done"
}

stamp=${XDG_CACHE_HOME:-$HOME/.cache}/mizar/packages-left-out
main "$@"
