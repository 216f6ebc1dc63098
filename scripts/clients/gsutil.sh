# gsutil, which speaks S3 by the old boto.
host=${ENDPOINT#*://}
[[ -z $CA ]] || host=localhost:${host##*:} # the old boto compares certificates with names only
cat >"$WORK/boto" <<C
[Credentials]
aws_access_key_id = $KEY
aws_secret_access_key = $KEY
s3_host = ${host%:*}
s3_port = ${host##*:}
[Boto]
is_secure = $([[ -n $CA ]] && echo True || echo False)
ca_certificates_file = ${CA:-system}
[s3]
calling_format = boto.s3.connection.OrdinaryCallingFormat
[GSUtil]
state_dir = $WORK/state
software_update_check_period = 0
C
export BOTO_CONFIG=$WORK/boto
run() { gsutil -q "$@"; }
case $1 in
    make) run mb "s3://$BUCKET" ;;
    up) run -m rsync -r "$UP" "s3://$BUCKET/data" ;;
    again) run -m rsync -r "$UP" "s3://$BUCKET/data" ;;
    down) mkdir -p "$DOWN/data" && run -m rsync -r "s3://$BUCKET/data" "$DOWN/data" ;;
    big) run cp "$BIG" "s3://$BUCKET/big" && run cp "s3://$BUCKET/big" "$DOWN/big" ;;
    overwrite) run cp "$NEW" "s3://$BUCKET/data/d00/f0000.txt" ;;
    list) run ls "s3://$BUCKET/data/**" | wc -l ;;
    old) run cp "s3://$OLD/data/d00/f0000.txt" "$DOWN/old" ;;
    delete) run -m rm -r "s3://$BUCKET/data/" ;;
    remove) run rm "s3://$BUCKET/big" && run rb "s3://$BUCKET" ;;
esac
