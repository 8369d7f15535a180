FROM alpine
RUN
CMD
ENTRYPOINT
RUN --network=none
RUN -- --looks-like-a-flag
