FROM alpine
RUN <<EOF1 sh -e && echo done
FROM nothing
RUN nothing \
EOF1
RUN cat <<'one two' | wc -l
text
one two
COPY --chmod=755 <<run.sh <<EOF.txt /opt/
#!/bin/sh
exec "$@"
run.sh
EOF
 EOF.txt
EOF.txt
RUN 3<<INPUT cat <&3
over descriptor three
INPUT
RUN echo "<<EOF" '<<EOF' \<\<EOF && : $((1<<2))
RUN cat <<-END
	tabs
		go
	END
