#!/usr/bin/env bash
# Builds the container image and the Flex Template: PROJECT=p REGION=r BUCKET=b launch/dataflow/build.sh [TAG]
# GPU=1 builds an image for GPUs. Needs docker, and gcloud with valid credentials.
set -euo pipefail
: "${PROJECT:?set PROJECT to the Google Cloud project}"
: "${REGION:?set REGION to the region of the registry and the jobs, such as europe-west1}"
: "${BUCKET:?set BUCKET to the name of the bucket for the template}"
tag=${1:-latest}
image=$REGION-docker.pkg.dev/$PROJECT/beam-job/beam-job:$tag${GPU:+-gpu}
cd "$(dirname "$0")/../.."
docker build -f launch/Dockerfile --target template --build-arg GPU="${GPU:-}" -t "$image" .
docker push "$image"
gcloud dataflow flex-template build "gs://$BUCKET/templates/beam-job-$tag${GPU:+-gpu}.json" \
    --project "$PROJECT" --image "$image" --sdk-language PYTHON --metadata-file launch/dataflow/metadata.json
echo "image:    $image"
echo "template: gs://$BUCKET/templates/beam-job-$tag${GPU:+-gpu}.json"
