FROM alpine AS base
FROM debian AS base
FROM base
RUN cat /etc/os-release
