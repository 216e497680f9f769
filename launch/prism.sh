#!/usr/bin/env bash
# Extracts on Prism, Beam's local runner: launch/prism.sh IN OUT [options of beam-job extract]
# PRISM=FILE is the Prism binary. Without it, the script builds Prism once, with Go, into build/prism.
set -euo pipefail
[ $# -ge 2 ] || { echo "usage: launch/prism.sh IN OUT [options of beam-job extract]" >&2; exit 2; }
input=$1 output=$2
shift 2
home=$(cd "$(dirname "$0")/.." && pwd)/build/prism
prism=${PRISM:-$home/prism}
if [ ! -x "$prism" ]; then
    command -v go >/dev/null || { echo "prism.sh: install Go, or set PRISM to Beam's prism binary." >&2; exit 1; }
    version=$(python -c 'import importlib.metadata; print(importlib.metadata.version("apache-beam"))')
    echo "building Prism $version, which takes a minute or two" >&2
    GOBIN=$home go install "github.com/apache/beam/sdks/v2/go/cmd/prism@v$version"
fi
exec beam-job extract --runner=PrismRunner --prism_location="$prism" --environment_type=LOOPBACK \
    --input "$input" --output "$output" "$@"
