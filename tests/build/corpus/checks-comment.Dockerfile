FROM alpine
# check=skip=SecretsUsedInArgOrEnv
ARG API_TOKEN
ENV DB_PASSWORD=example
