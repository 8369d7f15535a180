FROM gcc:14 AS build
RUN apt-get update && apt-get install -y cmake ninja-build && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY CMakeLists.txt ./
COPY src/ src/
COPY include/ include/
RUN cmake -S . -B /build -G Ninja -DCMAKE_BUILD_TYPE=Release \
    && cmake --build /build --parallel \
    && ctest --test-dir /build --output-on-failure \
    && cmake --install /build --prefix /opt/app --strip
FROM debian:trixie-slim
COPY --from=build /opt/app /opt/app
ENTRYPOINT ["/opt/app/bin/app"]
