# The bot and its Helm, without a compiler, without pip, not as root.
#
# Base images are pinned by tag and by the digest of the tag's multi-platform index. To move one:
#   docker buildx imagetools inspect python:3.13.15-slim-bookworm     (prints the digest of what the tag is now)

# --- Helm, from the module versions that the tests run with -------------------------------------------------------------
FROM golang:1.26.6-bookworm@sha256:116d58cbd88c1297624acc6e967a060012422bacf9930927e23fb719189c6f36 AS helm
ARG HELM_VERSION=v4.3.1
ENV CGO_ENABLED=0 GOTOOLCHAIN=local GOWORK=off GOFLAGS=-mod=readonly
WORKDIR /src
# go.sum holds the hash of every module: what is downloaded is what was tested, or the build stops.
COPY dev/go/go.mod dev/go/go.sum ./
RUN go build -trimpath -buildvcs=false \
      -ldflags "-s -w -X helm.sh/helm/v4/internal/version.version=${HELM_VERSION}" \
      -o /out/helm helm.sh/helm/v4/cmd/helm \
 && test "$(/out/helm version --template '{{.Version}}')" = "${HELM_VERSION}"

# --- The bot, in an environment that has no pip of its own ---------------------------------------------------------------
FROM python:3.13.15-slim-bookworm@sha256:ed86c82274b3c69b52fb5820f358f0bd7df0b603332063cb5c6e32bd220c3e6e AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1
WORKDIR /src
COPY requirements/ requirements/
# The build backend is the one of dev.lock, with its hash, and stays in this stage.
RUN awk '/^[a-z]/ { keep = /^setuptools==/ } keep' requirements/dev.lock > /tmp/backend.lock \
 && pip install --require-hashes -r /tmp/backend.lock \
 && python -m venv --without-pip /opt/aeterna-bot \
 && pip --python /opt/aeterna-bot/bin/python install --require-hashes --no-deps --only-binary :all: -r requirements/run.lock
# A quarter of the environment, and never imported: the bot uses the package's asynchronous half (bot/kube/session.py).
RUN rm -r /opt/aeterna-bot/lib/python3.13/site-packages/kubernetes/client
COPY pyproject.toml README.md ./
COPY bot/ bot/
COPY handlers/ handlers/
COPY runbooks/ runbooks/
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /tmp/wheels . \
 && pip --python /opt/aeterna-bot/bin/python install --no-deps --no-index /tmp/wheels/*.whl \
 && /opt/aeterna-bot/bin/aeterna-bot runbooks show \
 && /opt/aeterna-bot/bin/python -c "import bot.app, bot.probe.postgres, bot.probe.qdrant, bot.probe.redis; from bot.kube.session import _configuration_package as read; read()"

# --- What is shipped -----------------------------------------------------------------------------------------------------
FROM python:3.13.15-slim-bookworm@sha256:ed86c82274b3c69b52fb5820f358f0bd7df0b603332063cb5c6e32bd220c3e6e
COPY --from=helm /out/helm /usr/local/bin/helm
COPY --from=build /opt/aeterna-bot /opt/aeterna-bot
# The root filesystem may be read-only: the bot writes to `state` of its configuration and to /tmp, nowhere else.
ENV PATH=/opt/aeterna-bot/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    AETERNA_BOT_CONFIG=/etc/aeterna-bot/aeterna-bot.yaml
# A number, because Kubernetes cannot tell whether a name is root (runAsNonRoot).
USER 10001:10001
WORKDIR /tmp
EXPOSE 3000
ENTRYPOINT ["aeterna-bot"]
CMD ["serve"]
