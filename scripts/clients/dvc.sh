# DVC, with the bucket as its remote.
export AWS_ACCESS_KEY_ID=$KEY AWS_SECRET_ACCESS_KEY=$KEY AWS_REGION=us-east-1 DVC_NO_ANALYTICS=1 HOME=$WORK
cd "$WORK"
case $1 in
    make)
        dvc init --quiet --no-scm
        dvc remote add --quiet --default here "s3://$BUCKET/store"
        dvc remote modify --quiet here endpointurl "$ENDPOINT"
        [[ -z $CA ]] || dvc remote modify --quiet here ssl_verify "$CA"
        python - "$ENDPOINT/$BUCKET" <<'P'
import ssl, sys, urllib.request, os
context = ssl.create_default_context(cafile=os.environ["CA"]) if os.environ["CA"] else None
urllib.request.urlopen(urllib.request.Request(sys.argv[1], method="PUT"), context=context).close()
P
        ;;
    up) cp -r "$UP" data && dvc add --quiet data && dvc push --quiet ;;
    again) dvc push --quiet ;;
    down) rm -rf data .dvc/cache && dvc pull --quiet && cp -r data "$DOWN/data" ;;
    delete) rm -rf data data.dvc && dvc gc --quiet --workspace --cloud --force ;;
esac
