from alpine:3.20 as one
run echo hello
copy --from=one /etc/hostname /x
env a=b
cmd ["sh"]
