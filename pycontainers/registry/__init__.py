"""The world outside: registries, by the distribution specification.

addresses    what an URL is bound to, and where it may lead
certificates whom we believe to be a registry
transport    requests with retries, redirects, proxies and TLS; knows HTTP and nothing of images
credentials  who we are: our own file, other tools' files, and their helper programs
auth         challenges, and the tokens they ask for
endpoint     one registry or mirror: its address, and requests that carry what it wants to see
repository   manifests, blobs and tags of one repository
download     how a blob gets out of one
upload       how a blob gets into one
"""
