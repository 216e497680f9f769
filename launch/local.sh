#!/usr/bin/env bash
# Extracts on this machine: launch/local.sh IN OUT [options of beam-job extract]
# By default one process runs a thread per core, which is fastest. PROCESSES=N runs N processes, like remote workers.
set -euo pipefail
[ $# -ge 2 ] || { echo "usage: launch/local.sh IN OUT [options of beam-job extract]" >&2; exit 2; }
input=$1 output=$2
shift 2
mode=()
[ "${PROCESSES:-1}" = 1 ] || mode=(--direct_running_mode=multi_processing --direct_num_workers="$PROCESSES")
exec beam-job extract --input "$input" --output "$output" "${mode[@]}" "$@"
