FROM alpine
HEALTHCHECK NONE
HEALTHCHECK --interval=1m --timeout=10s --start-period=1h30m --start-interval=2s --retries=10 CMD curl -f http://localhost/ || exit 1
HEALTHCHECK CMD ["wget", "-qO-", "http://localhost/"]
