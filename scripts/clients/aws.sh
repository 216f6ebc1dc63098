# The aws command line: s3 and s3api.
export AWS_ACCESS_KEY_ID=$KEY AWS_SECRET_ACCESS_KEY=$KEY AWS_REGION=us-east-1 AWS_ENDPOINT_URL=$ENDPOINT
export AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null AWS_EC2_METADATA_DISABLED=true
case $1 in
    make) aws s3 mb "s3://$BUCKET" && aws s3api head-bucket --bucket "$BUCKET" ;;
    up) aws s3 sync --only-show-errors "$UP" "s3://$BUCKET/data" ;;
    again) test -z "$(aws s3 sync "$UP" "s3://$BUCKET/data")" ;;
    down) aws s3 sync --only-show-errors "s3://$BUCKET/data" "$DOWN/data" ;;
    big)
        aws s3 cp --only-show-errors "$BIG" "s3://$BUCKET/big"
        aws s3 mv --only-show-errors "s3://$BUCKET/big" "s3://$BUCKET/moved"
        aws s3 mv --only-show-errors "s3://$BUCKET/moved" "s3://$BUCKET/big"
        aws s3 cp --only-show-errors "s3://$BUCKET/big" "$DOWN/big"
        ;;
    overwrite) aws s3 cp --only-show-errors "$NEW" "s3://$BUCKET/data/d00/f0000.txt" ;;
    list) aws s3 ls --recursive "s3://$BUCKET/data/" | wc -l ;;
    old)
        curl -sf ${CA:+--cacert "$CA"} -o "$DOWN/old" "$(aws s3 presign "s3://$OLD/data/d00/f0000.txt")"
        key=(--bucket "$BUCKET" --key data/d00/f0000.txt)
        versions=(aws s3api list-object-versions --bucket "$BUCKET" --prefix data/d00/f0000.txt --output text)
        aws s3api get-object "${key[@]}" --version-id "$("${versions[@]}" --query 'Versions[1].VersionId')" "$WORK/version"
        cmp "$WORK/version" "$DOWN/old"
        ;;
    delete) aws s3 rm --only-show-errors --recursive "s3://$BUCKET/data/" ;;
    remove) aws s3 rb --force "s3://$BUCKET" ;;
esac
