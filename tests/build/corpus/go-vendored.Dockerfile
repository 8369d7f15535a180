FROM golang:1.20 as builder
WORKDIR $GOPATH/src/example.com/tool
COPY . ./
RUN make VERBOSE=1 tool \
 && install -m 0755 bin/tool /usr/local/bin/
FROM gcr.io/distroless/base
COPY --from=0 /usr/local/bin/tool /usr/local/bin/tool
ENTRYPOINT [ "tool", "--config", "/etc/tool.yaml" ]
