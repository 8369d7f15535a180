# syntax=docker/dockerfile:1
FROM debian
RUN <<EOT
  set -ex
  apt-get update
  apt-get install -y vim   # the editor
  # a comment of the script
  rm -rf /var/lib/apt/lists/*
EOT
RUN <<-'PY' python3
	import sys
	print("hello", sys.version)
	PY
RUN <<EOT
#!/usr/bin/env perl
print "a script of its own\n";
EOT
RUN <<FILE1 cat > file1 && <<FILE2 cat > file2
I am
first
FILE1
I am
second
FILE2
COPY <<"ONE" <<-TWO /etc/files/
keep $this
ONE
	expand ${HOSTNAME:-that}
TWO
