# Callgate in a container: the wheel is built and installed in one stage, and only the installed environment is
# carried into the next, where it runs as a user of its own with its data in a volume.

FROM python:3.12-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY gateway gateway
COPY rating rating
COPY policy policy
COPY loadtest loadtest
RUN python3 -m venv /opt/callgate && /opt/callgate/bin/pip install --quiet .

FROM python:3.12-slim
RUN useradd --system --uid 10001 --home-dir /var/lib/callgate --create-home callgate
COPY --from=build /opt/callgate /opt/callgate
ENV PATH=/opt/callgate/bin:$PATH PYTHONUNBUFFERED=1
USER callgate
WORKDIR /var/lib/callgate
VOLUME /var/lib/callgate
EXPOSE 5060/udp 5060/tcp 8080/tcp
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
    CMD ["python3", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/healthz', timeout=2)"]
CMD ["callgate", "serve"]
