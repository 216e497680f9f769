#!/usr/bin/env bash
# Extracts on Dataflow: PROJECT=p REGION=r BUCKET=b IMAGE=i launch/dataflow/submit.sh gs://IN gs://OUT [options]
#   IMAGE               the container image that build.sh built
#   GPU=nvidia-tesla-t4 a GPU for each worker
#   SERVICE_ACCOUNT=... the service account of the workers; launch/README.md lists its roles
#   SUBNETWORK=...      a subnetwork for the workers, which then have no public addresses
set -euo pipefail
[ $# -ge 2 ] || { echo "usage: launch/dataflow/submit.sh gs://IN gs://OUT [options of beam-job extract]" >&2; exit 2; }
: "${PROJECT:?set PROJECT to the Google Cloud project}"
: "${REGION:?set REGION to the region to run in, such as europe-west1}"
: "${BUCKET:?set BUCKET to the name of a bucket for temporary files}"
: "${IMAGE:?set IMAGE to the container image that launch/dataflow/build.sh built}"
input=$1 output=$2
shift 2
options=(
    --project="$PROJECT" --region="$REGION" --temp_location="gs://$BUCKET/tmp" --sdk_container_image="$IMAGE"
)
if [ -n "${GPU:-}" ]; then
    options+=(
        --dataflow_service_options="worker_accelerator=type:$GPU;count:1;install-nvidia-driver"
        --machine_type=n1-standard-8 --disk_size_gb=100 --engine=tensorflow --batch_size=64
    )
fi
[ -z "${SERVICE_ACCOUNT:-}" ] || options+=(--service_account_email="$SERVICE_ACCOUNT")
[ -z "${SUBNETWORK:-}" ] || options+=(--subnetwork="$SUBNETWORK" --no_use_public_ips)
exec beam-job extract --on=dataflow --input "$input" --output "$output" "${options[@]}" "$@"
