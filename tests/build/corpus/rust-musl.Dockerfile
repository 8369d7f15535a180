FROM rust:1.79-alpine AS build
RUN apk add --no-cache musl-dev
WORKDIR /usr/src/app
COPY Cargo.toml Cargo.lock ./
RUN mkdir src && echo 'fn main() {}' > src/main.rs && cargo build --release && rm -r src
COPY src ./src
RUN touch src/main.rs && cargo build --release --target "$(uname -m)-unknown-linux-musl"

FROM scratch AS final
COPY --from=build --chmod=0755 /usr/src/app/target/*/release/app /app
ENTRYPOINT ["/app"]
