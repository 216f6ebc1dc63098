"""The S3 door: every branch and every commit is a bucket, and a job's sidecar is the same door with other buckets.

server      who asks, receiving bodies, replies: the handler that `httpd` calls
signature   who signed a request (pure)
chunked     aws-chunked bodies (pure)
checksums   the checksums a client announced, computed on the way
request     what moto sees of a request
offered     what is refused before anybody looks at it
responses   moto's S3Response, with our verbs on objects
backend     moto's S3Backend: S3 verbs as store calls; refuses what is not offered
buckets     bucket maps: all repos, or one job's inputs and output
views       buckets and objects as moto and the replies read them
listing     pages of keys as XML
conditions  If-Match and its kind (pure)
errors      S3 errors: codes, statuses, XML
"""
