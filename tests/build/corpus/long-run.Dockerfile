FROM buildpack-deps:bookworm
RUN set -ex; \
    \
    apt-get update; \
    apt-get install -y --no-install-recommends \
        autoconf \
        bison \
    ; \
    \
# a comment at the line's beginning
    case "$(dpkg --print-architecture)" in \
        amd64) arch='x86_64' ;; \
        arm64) arch='aarch64' ;; \
        *) echo >&2 "unsupported: $(uname -m)"; exit 1 ;; \
    esac; \
    \
    find /usr/local -depth \
        \( \
            \( -type d -a \( -name test -o -name tests \) \) \
            -o \( -type f -a \( -name '*.pyc' -o -name '*.pyo' \) \) \
        \) -exec rm -rf '{}' +; \
    echo "$arch" | sed -e 's!^!arch: !' -e "s/\$/./"
