# MinIO's client.
export MC_CONFIG_DIR=$WORK/mc MC_DISABLE_PAGER=1
run() { mc --quiet --no-color "$@"; }
if [[ ! -d $MC_CONFIG_DIR ]]; then
    mkdir -p "$MC_CONFIG_DIR/certs/CAs"
    [[ -z $CA ]] || cp "$CA" "$MC_CONFIG_DIR/certs/CAs/"
    run alias set here "$ENDPOINT" "$KEY" "$KEY" >/dev/null
fi
case $1 in
    make) run mb "here/$BUCKET" ;;
    up) run mirror "$UP" "here/$BUCKET/data" >/dev/null ;;
    again) run mirror --overwrite "$UP" "here/$BUCKET/data" >/dev/null ;;
    down) run mirror "here/$BUCKET/data" "$DOWN/data" >/dev/null ;;
    big) run cp "$BIG" "here/$BUCKET/big" >/dev/null && run cp "here/$BUCKET/big" "$DOWN/big" >/dev/null ;;
    overwrite) run cp "$NEW" "here/$BUCKET/data/d00/f0000.txt" >/dev/null ;;
    list) run ls --recursive "here/$BUCKET/data/" | wc -l ;;
    old) run cat "here/$OLD/data/d00/f0000.txt" >"$DOWN/old" ;;
    delete) run rm --recursive --force "here/$BUCKET/data/" >/dev/null ;;
    remove) run rb --force "here/$BUCKET" ;;
esac
