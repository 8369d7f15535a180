FROM python:3.12 AS wheels
COPY . /src
RUN pip wheel --wheel-dir=/wheels /src

FROM python:3.12-slim
RUN --mount=type=bind,from=wheels,source=/wheels,target=/wheels \
    pip install --no-index --find-links=/wheels app \
    && python -c 'import app; print(app.__version__)'
STOPSIGNAL SIGINT
CMD ["app"]
