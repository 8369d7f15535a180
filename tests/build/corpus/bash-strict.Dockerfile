FROM ubuntu:24.04
SHELL ["/bin/bash", "-o", "pipefail", "-euc"]
ARG DEBIAN_FRONTEND=noninteractive
RUN apt-get update \
 && apt-get install -y --no-install-recommends \
        ca-certificates \
        curl \
        gnupg \
 && curl -fsSL https://example.com/key.asc | gpg --dearmor -o /usr/share/keyrings/example.gpg \
 && echo "deb [arch=$(dpkg --print-architecture) signed-by=/usr/share/keyrings/example.gpg] https://example.com/apt stable main" \
        > /etc/apt/sources.list.d/example.list \
 && rm -rf /var/lib/apt/lists/*
SHELL ["/bin/sh", "-c"]
RUN echo back to sh
