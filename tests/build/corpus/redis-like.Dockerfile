FROM alpine:3.20
RUN addgroup -S -g 1000 redis && adduser -S -G redis -u 999 redis
RUN apk add --no-cache 'su-exec>=0.2' tzdata
ENV REDIS_DOWNLOAD_URL=http://download.example.com/redis-7.2.5.tar.gz
ADD --checksum=sha256:24f418c7bdfbafb85f9372efc54f3670f23408af56cc2d92519ac64ea6bc8bc7 https://example.com/redis-7.2.5.tar.gz /tmp/redis.tar.gz
RUN set -eux; mkdir -p /usr/src/redis; \
    tar -xzf /tmp/redis.tar.gz -C /usr/src/redis --strip-components=1; \
    make -C /usr/src/redis -j "$(nproc)" all install
RUN mkdir /data && chown redis:redis /data
VOLUME ["/data"]
WORKDIR /data
EXPOSE 6379
CMD ["redis-server"]
