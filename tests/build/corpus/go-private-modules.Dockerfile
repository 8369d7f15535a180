# syntax=docker/dockerfile:1
FROM golang:1.22 AS build
ENV GOPRIVATE=git.example.com/*
WORKDIR /src
RUN mkdir -p -m 0700 ~/.ssh && ssh-keyscan git.example.com >> ~/.ssh/known_hosts
RUN git config --global url."ssh://git@git.example.com/".insteadOf "https://git.example.com/"
COPY go.* ./
RUN --mount=type=ssh,required=true go mod download
COPY . .
RUN --mount=type=secret,id=licence,target=/src/licence.key,required=true,mode=0400 \
    --mount=type=tmpfs,target=/tmp,size=256m \
    go build -o /app .
FROM debian:bookworm-slim
COPY --link --from=build /app /usr/bin/app
CMD ["app"]
