ARG GO_VERSION=1.22
ARG BASE=gcr.io/distroless/static-debian12:nonroot
FROM golang:${GO_VERSION} AS build
WORKDIR /go/src/app
COPY . .
ARG VERSION=dev
RUN go vet ./... && \
    go test ./... && \
    CGO_ENABLED=0 go build -ldflags "-X main.version=${VERSION}" -o /go/bin/app
FROM ${BASE}
ARG VERSION
LABEL org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.source="https://example.com/app"
COPY --from=build /go/bin/app /
CMD ["/app"]
