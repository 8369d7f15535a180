From alpine
Run echo
COPY a b
cmd echo
Entrypoint ["x"]
