FROM rust:1.95-slim-bookworm AS build
WORKDIR /metrics
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/metrics/target \
    cargo build --release --locked --package metrics-server \
    && cp target/release/metrics-server /usr/local/bin/ \
    && mkdir /data

FROM gcr.io/distroless/cc-debian12:nonroot
# This image has nothing else that could ask the server for its health.
COPY --from=busybox:1.37.0-musl /bin/busybox /usr/bin/wget
COPY --from=build /usr/local/bin/metrics-server /usr/local/bin/
# Where metrics.db is kept when DATABASE_URL names no other store.
COPY --from=build --chown=nonroot:nonroot /data /data
WORKDIR /data
ENV METRICS_LISTEN=0.0.0.0:3000
EXPOSE 3000
HEALTHCHECK --start-period=30s CMD ["wget", "-q", "-T", "5", "-O", "/dev/null", "http://127.0.0.1:3000/health/ready"]
ENTRYPOINT ["metrics-server"]
