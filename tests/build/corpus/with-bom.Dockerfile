FROM debian
RUN echo "the first character is a byte order mark"
