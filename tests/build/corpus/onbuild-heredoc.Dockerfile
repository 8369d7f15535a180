FROM alpine
ONBUILD RUN <<EOF
echo first
echo second
EOF
ONBUILD COPY --chown=1 <<A <<B /x/
1
A
2
B
onbuild env a=b
