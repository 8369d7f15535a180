FROM scratch
LABEL org.opencontainers.image.title="title" org.opencontainers.image.description='Some description, with commas'
LABEL com.example.some-label="ACME \
Incorporated"
LABEL version 1.0 with spaces
LABEL multi.label1="value1" multi.label2="value2" other="value3"
LABEL empty=
