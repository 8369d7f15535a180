FROM alpine AS base
RUN --mount=target=/ctx ls /ctx
RUN --mount=type=bind,source=.,target=/src,rw make -C /src
RUN --mount=type=bind,from=alpine:3.19,source=/etc,dst=/old,readonly cat /old/os-release
RUN --mount=type=cache,id=apk-$TARGETARCH,target=/var/cache/apk,sharing=private,uid=0,gid=0,mode=0755 apk add git
RUN --mount=type=tmpfs,target=/scratch,size=64m dd if=/dev/zero of=/scratch/x bs=1M count=32
RUN --mount=type=secret,id=token,env=TOKEN sh -c 'test -n "$TOKEN"'
RUN --mount=type=secret,id=aws,target=/root/.aws/credentials,uid=0,gid=0,mode=0600 aws s3 ls
RUN --mount=type=ssh,id=default,target=/run/agent.sock,mode=0600 ssh-add -l
RUN --mount='type=bind,"source=with,comma",target=/x' ls /x
RUN --network=none ping -c1 example.com || true
RUN --network=host true
RUN --security=insecure mount -t tmpfs none /mnt
