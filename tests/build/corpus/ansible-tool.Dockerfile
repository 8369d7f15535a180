FROM alpine:3.20
LABEL maintainer="ops@example.com" \
      description="Tools \"for\" the deployment"
RUN apk --no-cache add ansible openssh-client rsync
WORKDIR /ansible
ENTRYPOINT ["ansible-playbook"]
CMD ["--help"]
