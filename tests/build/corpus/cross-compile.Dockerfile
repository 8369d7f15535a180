ARG ALPINE=3.20
FROM --platform=$BUILDPLATFORM tonistiigi/xx:1.4.0 AS xx
FROM --platform=$BUILDPLATFORM alpine:${ALPINE} AS build
COPY --from=xx / /
RUN apk add clang lld
ARG TARGETPLATFORM
RUN xx-apk add musl-dev gcc
WORKDIR /work
COPY hello.c .
RUN xx-clang -static -o hello hello.c && xx-verify --static hello
FROM --platform=${TARGETPLATFORM} scratch
COPY --from=build /work/hello /
