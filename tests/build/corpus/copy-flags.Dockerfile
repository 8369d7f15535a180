# syntax=docker/dockerfile:1-labs
FROM debian AS tools
RUN touch /bin/tool
FROM debian
COPY --from=tools /bin/tool /usr/local/bin/
COPY --from=busybox:1.36 /bin/busybox /bin/busybox
COPY --from=0 --chown=1000:1000 --chmod=0644 /etc/hostname /etc/name
COPY --link --chown=app . /app/
COPY --parents ./src/./lib/**/*.py ./docs/*.md /out/
COPY --exclude=*.txt --exclude=**/node_modules . /clean/
COPY ["file with spaces", "another one", "/dest dir/"]
COPY [a-z]*.c te?t.h /src/
COPY --chmod=u=rwX,go=rX . /modes
ADD https://example.com/a.tar.gz /downloads/
ADD --unpack=false local.tar.gz /kept/
ADD --keep-git-dir=true https://github.com/moby/buildkit.git#v0.10.1 /buildkit
ADD --checksum=sha256:24454f830cdb571e2c4ad15481119c43b3cafd48dd869a9b2945d1036d1dc68d https://mirrors.example.org/linux-0.01.tar.gz /
