# DVC, with the bucket as its remote.
export AWS_ACCESS_KEY_ID=$KEY AWS_SECRET_ACCESS_KEY=$KEY AWS_REGION=us-east-1 DVC_NO_ANALYTICS=1 HOME=$WORK
cd "$WORK"
if [[ ! -d .dvc ]]; then
    dvc init --quiet --no-scm
    dvc remote add --quiet --default here "s3://$BUCKET/store"
    dvc remote modify --quiet here endpointurl "$ENDPOINT"
    [[ -z $CA ]] || dvc remote modify --quiet here ssl_verify "$CA"
fi
case $1 in
    up) cp -r "$UP" data && dvc add --quiet data && dvc push --quiet ;;
    again) dvc push --quiet ;;
    down) rm -rf data .dvc/cache && dvc pull --quiet && cp -r data "$DOWN/data" ;;
    delete) rm -rf data data.dvc && dvc gc --quiet --workspace --cloud --force ;;
esac
