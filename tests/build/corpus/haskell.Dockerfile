FROM haskell:9.6 AS build
WORKDIR /opt/app
COPY *.cabal ./
RUN cabal update && cabal build --only-dependencies
COPY . .
RUN cabal install --installdir=/out --install-method=copy
FROM debian:bookworm
RUN apt-get update && apt-get install -y libgmp10
COPY --from=build /out/app /usr/local/bin/
CMD app
