# s3cmd.
host=${ENDPOINT#*://}
tls=--no-ssl
[[ -z $CA ]] || tls="--ssl --ca-certs=$CA"
run() {
    # shellcheck disable=SC2086
    s3cmd --config=/dev/null --access_key="$KEY" --secret_key="$KEY" --host="$host" --host-bucket="$host" $tls "$@"
}
case $1 in
    make) run --quiet mb "s3://$BUCKET" ;;
    up) run --quiet sync "$UP/" "s3://$BUCKET/data/" ;;
    again) run --quiet sync "$UP/" "s3://$BUCKET/data/" ;;
    down) mkdir -p "$DOWN/data" && run --quiet sync "s3://$BUCKET/data/" "$DOWN/data/" ;;
    big) run --quiet put "$BIG" "s3://$BUCKET/big" && run --quiet get "s3://$BUCKET/big" "$DOWN/big" ;;
    overwrite) run --quiet put "$NEW" "s3://$BUCKET/data/d00/f0000.txt" ;;
    list) run ls --recursive "s3://$BUCKET/data/" | wc -l ;;
    old) run --quiet get "s3://$OLD/data/d00/f0000.txt" "$DOWN/old" ;;
    delete) run --quiet del --recursive --force "s3://$BUCKET/data/" ;;
    remove) run --quiet rb --recursive --force "s3://$BUCKET" ;;
esac
