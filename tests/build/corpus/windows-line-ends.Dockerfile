# escape=\
FROM python:3.12-slim AS build
ENV A=1 \
    B=2
# a comment
RUN apt-get update \
    # inside
    && apt-get install -y git
COPY <<EOF /etc/motd
hello
EOF
FROM scratch
COPY --from=build /etc/motd /
