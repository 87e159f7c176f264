# The server alone, with its data in a volume:
# docker build -t metrics . && docker run -p 127.0.0.1:3000:3000 -v metrics:/data \
#   -e METRICS_USER=me -e METRICS_PASSWORD=secret metrics
FROM rust:1.95-slim-bookworm AS build
WORKDIR /metrics
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/metrics/target \
    cargo build --profile dist --locked --package metrics-video-server \
    && cp target/dist/metrics-server /usr/local/bin/ \
    && mkdir /data

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /usr/local/bin/metrics-server /usr/local/bin/
# The directory of metrics.db, unless DATABASE_URL names another store.
COPY --from=build --chown=nonroot:nonroot /data /data
WORKDIR /data
# The server does not start until METRICS_USER and METRICS_PASSWORD are set, or METRICS_AUTH_ENABLED=false, which lets
# every caller read and manage everything.
ENV METRICS_LISTEN=0.0.0.0:3000
EXPOSE 3000
# The check connects to METRICS_LISTEN: to listen on another address, set that variable.
HEALTHCHECK --interval=10s --timeout=10s --start-period=30s CMD ["metrics-server", "health"]
ENTRYPOINT ["metrics-server"]
