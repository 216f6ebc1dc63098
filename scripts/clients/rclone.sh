# rclone.
export RCLONE_CONFIG=/dev/null RCLONE_CONFIG_HERE_TYPE=s3 RCLONE_CONFIG_HERE_PROVIDER=Other RCLONE_CONFIG_HERE_ENDPOINT=$ENDPOINT
export RCLONE_CONFIG_HERE_ACCESS_KEY_ID=$KEY RCLONE_CONFIG_HERE_SECRET_ACCESS_KEY=$KEY RCLONE_CONFIG_HERE_REGION=us-east-1
run() { rclone ${CA:+--ca-cert "$CA"} --log-level ERROR "$@"; }
case $1 in
    make) run mkdir "here:$BUCKET" ;;
    up) run sync "$UP" "here:$BUCKET/data" ;;
    again) run sync "$UP" "here:$BUCKET/data" ;;
    down) run sync "here:$BUCKET/data" "$DOWN/data" && run check "$UP" "here:$BUCKET/data" ;;
    big) run copyto "$BIG" "here:$BUCKET/big" && run copyto "here:$BUCKET/big" "$DOWN/big" ;;
    overwrite) run copyto "$NEW" "here:$BUCKET/data/d00/f0000.txt" ;;
    list) run lsf --recursive --files-only "here:$BUCKET/data" | wc -l ;;
    old) run copyto "here:$OLD/data/d00/f0000.txt" "$DOWN/old" ;;
    delete) run delete "here:$BUCKET/data" ;;
    remove) run purge "here:$BUCKET" ;;
esac
