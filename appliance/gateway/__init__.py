"""The S3 door: every branch and every commit is a bucket, and a job's sidecar is the same door with other buckets.

server      who asks, replies: the handler that `httpd` calls
receiving   bodies of uploads; forms, policy, form_upload: those that browsers send
access      who is let in by which key; guard: what that one may do, bucket by bucket; sharing: what ACLs add to it
signature   who signed a request (pure; a package: version 4, version 2 and what they share)
chunked     aws-chunked bodies (pure)
checksums   what clients announce of bodies and objects, computed on the way, kept, joined from parts
metadata    what is kept of an upload's headers; tags (both pure)
request     what moto sees of a request
offered     what is refused before anybody looks at it
parsing     what headers and XML bodies ask for (pure)
responses   moto's S3Response: routing, and in object_verbs, upload_verbs and list_verbs what we answer ourselves
settings    (settings_verbs, settings_backend) what buckets are told: acl and cors in XML (both pure), tags
backend     moto's S3Backend: S3 verbs as store calls; upload_backend those on uploads, writing what each write has
history     versions: found by id, listed, forgotten
parts       parts of multipart uploads: choosing, joining, their checksums
refusals    the methods of S3Backend that are not offered; unconfigured: what is said of them where nobody configured them
buckets     bucket maps: all repos, or one job's inputs and output
views       buckets and objects as moto and the replies read them
listing     pages of keys, buckets and uploads
conditions  If-Match and its kind
errors      S3 errors: codes, statuses, XML
"""
