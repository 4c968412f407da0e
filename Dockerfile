# docker build -t attribute-gateway .
# docker run --rm -p 127.0.0.1:8080:8080 attribute-gateway demo
#
# Two stages; the second contains only the program. Both bases are named by tag, since this repository knows
# no digest that was verified. To pin them in a release, append @sha256:… as `docker buildx imagetools inspect`
# shows it. `make sbom` lists what is in the program.

FROM rust:1.95-bookworm AS build
WORKDIR /build

# Builds the dependencies with empty libraries of ours. This layer takes most of the time and is rebuilt
# only when a manifest changes. (The manifest names files in benches.)
COPY Cargo.toml Cargo.lock ./
COPY crates/genesys-simulator/Cargo.toml crates/genesys-simulator/
COPY benches benches
RUN mkdir src crates/genesys-simulator/src \
 && echo '//! Empty.' | tee src/lib.rs > crates/genesys-simulator/src/lib.rs \
 && echo 'fn main() {}' > src/main.rs \
 && cargo build --release --locked --lib \
 && rm -r src crates/genesys-simulator/src

# touch: the copied files can be older than the empty libraries, and cargo would not rebuild them.
COPY config config
COPY crates crates
COPY docs/runbooks docs/runbooks
COPY src src
RUN touch src/lib.rs src/main.rs crates/genesys-simulator/src/lib.rs \
 && cargo build --release --locked --bin attribute-gateway

# glibc, libgcc and CA certificates, which the HTTPS client needs; no shell.
FROM gcr.io/distroless/cc-debian12:nonroot

LABEL org.opencontainers.image.title="attribute-gateway" \
      org.opencontainers.image.description="Read and write the participant attributes of a live Genesys Cloud call: one endpoint, verified writes" \
      org.opencontainers.image.licenses="Apache-2.0"

COPY --from=build /build/target/release/attribute-gateway /usr/local/bin/attribute-gateway

# As a number, so that an orchestrator can see that it is not root. It is `nonroot` of the base image.
USER 65532:65532

# Loopback would be unreachable from outside the container. On this address the gateway needs clients
# (auth.clients_file) or GATEWAY__AUTH__MODE=none; `demo` has a key of its own.
ENV GATEWAY__SERVER__BIND=0.0.0.0:8080
EXPOSE 8080

# SIGTERM starts the drain. Allow it server.drain (25 s), as in `docker stop -t 30`.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=5s --retries=3 \
    CMD ["/usr/local/bin/attribute-gateway", "healthcheck"]

# Without a command: `serve`. Others: demo, simulate, check-config, print-config.
ENTRYPOINT ["/usr/local/bin/attribute-gateway"]
