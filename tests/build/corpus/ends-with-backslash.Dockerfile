FROM alpine
RUN true \
    && echo done \
