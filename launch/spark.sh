#!/usr/bin/env bash
# Extracts on Spark 3: launch/spark.sh IN OUT [options of beam-job extract]
# MASTER=spark://HOST:7077 selects a cluster. Without it, Spark runs on this machine, inside Beam's job server.
set -euo pipefail
[ $# -ge 2 ] || { echo "usage: launch/spark.sh IN OUT [options of beam-job extract]" >&2; exit 2; }
input=$1 output=$2
shift 2
jar=$(python "$(dirname "$0")/job_servers/fetch.py" spark-3)
exec beam-job extract --on=spark --spark_job_server_jar="$jar" --spark_master_url="${MASTER:-local[2]}" \
    --input "$input" --output "$output" "$@"
