# s3fs-fuse: the bucket as a directory. Each step mounts it anew, so that nothing is answered from a cache.
umask 077
echo "$KEY:$KEY" >"$WORK/password"
mount_bucket() {
    mkdir -p "$WORK/$1"
    CURL_CA_BUNDLE=$CA s3fs "$1" "$WORK/$1" -o "url=$ENDPOINT,use_path_request_style,passwd_file=$WORK/password"
    trap 'fusermount -u "$WORK/'"$1"'" || umount "$WORK/'"$1"'"' EXIT
}
if [[ $1 == old ]]; then
    mount_bucket "$OLD"
    cp "$WORK/$OLD/data/d00/f0000.txt" "$DOWN/old"
    exit
fi
mount_bucket "$BUCKET"
here=$WORK/$BUCKET
case $1 in
    up) cp -r "$UP" "$here/data" ;;
    down) cp -r "$here/data" "$DOWN/data" ;;
    big) cp "$BIG" "$here/big" && cp "$here/big" "$DOWN/big" ;;
    overwrite) cp "$NEW" "$here/data/d00/f0000.txt" ;;
    list) find "$here/data" -type f | wc -l ;;
    delete) rm -r "$here/data" ;;
esac
