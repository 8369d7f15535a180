FROM alpine
LABEL sprache="Größe" 说明='中文' emoji=😀
ENV GRÖSSE=5
RUN echo "größer als ${GRÖSSE}" && echo → ✓
COPY ärger/*.txt /überall/
