FROM alpine AS a
FROM a AS b
RUN touch /b
FROM a AS c
RUN touch /c
FROM b AS d
COPY --from=c /c /
FROM scratch AS artifacts
COPY --from=b /b /
COPY --from=c /c /
COPY --from=d / /d/
FROM d
