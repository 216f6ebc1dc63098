# curl, which signs by itself: no client at all.
run() {
    local sign=(--aws-sigv4 aws:amz:us-east-1:s3 --user "$KEY:$KEY" -H "x-amz-content-sha256: UNSIGNED-PAYLOAD")
    curl -sfS ${CA:+--cacert "$CA"} "${sign[@]}" "$@"
}
keys() { run "$ENDPOINT/$BUCKET?list-type=2&max-keys=1000$1" -o "$WORK/page"; }
all() {
    keys "&prefix=data%2F"
    while
        grep -o '<Key>[^<]*' "$WORK/page" | cut -c6- || true
        grep -q '<IsTruncated>true' "$WORK/page"
    do
        keys "&prefix=data%2F&start-after=$(grep -o '<Key>[^<]*' "$WORK/page" | tail -1 | cut -c6- | sed 's:/:%2F:g')"
    done
}
case $1 in
    make) run -X PUT "$ENDPOINT/$BUCKET" ;;
    up)
        (cd "$UP" && find . -type f -printf '%P\n') | while read -r name; do
            printf 'upload-file = "%s/%s"\nurl = "%s/%s/data/%s"\n' "$UP" "$name" "$ENDPOINT" "$BUCKET" "$name"
        done >"$WORK/list"
        run -K "$WORK/list"
        ;;
    down)
        all | while read -r name; do
            printf 'output = "%s/%s"\nurl = "%s/%s/%s"\n' "$DOWN" "$name" "$ENDPOINT" "$BUCKET" "$name"
        done >"$WORK/list"
        run --create-dirs -K "$WORK/list"
        ;;
    big) run -T "$BIG" "$ENDPOINT/$BUCKET/big" && run -o "$DOWN/big" "$ENDPOINT/$BUCKET/big" ;;
    overwrite) run -T "$NEW" "$ENDPOINT/$BUCKET/data/d00/f0000.txt" ;;
    list) all | wc -l ;;
    old) run -o "$DOWN/old" "$ENDPOINT/$OLD/data/d00/f0000.txt" ;;
    delete) all | sed "s|.*|url = \"$ENDPOINT/$BUCKET/&\"|" >"$WORK/list" && run -X DELETE -K "$WORK/list" ;;
    remove) run -X DELETE "$ENDPOINT/$BUCKET/big" && run -X DELETE "$ENDPOINT/$BUCKET" ;;
esac
