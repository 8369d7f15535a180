"""Images in and out: what moves between registries, archives, containers and the store.

progress     what a transfer tells while it runs       bars        the same, drawn with rich
compression  gzip, zstd and others as bounded readers
layers       one layer into the store and unpacked, by a jailed worker
record       a whole image into the database
archive      what lies in an archive or layout         load, save  archives in and out
pull, push   registries in and out                     rootfs      a root file system as an image
commit       a container's changes as a layer
"""
