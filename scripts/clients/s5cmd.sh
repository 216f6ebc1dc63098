# s5cmd.
export AWS_ACCESS_KEY_ID=$KEY AWS_SECRET_ACCESS_KEY=$KEY AWS_REGION=us-east-1 S3_ENDPOINT_URL=$ENDPOINT
export AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null
run() { s5cmd --log error "$@"; }
case $1 in
    make) run mb "s3://$BUCKET" ;;
    up) run sync "$UP/" "s3://$BUCKET/data/" ;;
    again) run sync "$UP/" "s3://$BUCKET/data/" ;;
    down) run sync "s3://$BUCKET/data/*" "$DOWN/data/" ;;
    big) run cp "$BIG" "s3://$BUCKET/big" && run cp "s3://$BUCKET/big" "$DOWN/big" ;;
    overwrite) run cp "$NEW" "s3://$BUCKET/data/d00/f0000.txt" ;;
    list) s5cmd ls "s3://$BUCKET/data/*" | wc -l ;;
    old) run cp "s3://$OLD/data/d00/f0000.txt" "$DOWN/old" ;;
    delete) run rm "s3://$BUCKET/data/*" ;;
    remove) run rm "s3://$BUCKET/big" && run rb "s3://$BUCKET" ;;
esac
