ARG REGISTRY=docker.io
ARG IMAGE=library/alpine
ARG TAG
FROM ${REGISTRY}/${IMAGE}:${TAG:-3.20}
ARG TAG
ARG NAME=world
ARG GREETING="hello $NAME" OTHER='hello $NAME' PLAIN=hello\ $NAME
ENV A=1 B=$A C=${A:-2} D="${A:+three}" E='$A' F=\$A
ENV FILE=archive-1.2.3.tar.gz
ENV BASE=${FILE%.tar.gz} VERSION=${FILE#*-} EXT=${FILE##*.} STEM=${FILE%%-*}
ENV DASHED=${FILE//./-} FIRST=${FILE/./-}
LABEL name=${NAME} "with space"="a b" multi="one \
two \
three"
WORKDIR /opt/${NAME}/${BASE}
EXPOSE ${PORT:-8080} ${UDP:-53}/udp
USER ${UID:-1000}:${GID:-1000}
VOLUME /data/$NAME [not-json
STOPSIGNAL ${SIGNAL:-SIGTERM}
COPY ${FILE} ./$NAME/
