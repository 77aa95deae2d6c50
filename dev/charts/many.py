"""Versions of the chart that render to as many objects as asked for, to see what a plan costs.

A rendered chart, with labels, probes and settings as charts have them: of ten objects four are ConfigMaps, two Secrets,
two Deployments and two Services. Nothing runs: the Deployments have no replicas. Much of it repeats, for Helm keeps a
release in one Secret, which takes a megabyte.
"""

from __future__ import annotations

from typing import Final

from dev.charts.package import Package, pack
from dev.charts.versions import CHART, ChartVersion

BEFORE, AFTER = "1.0.0", "1.1.0"
"""Between them every label and image tag changes, a tenth of the ConfigMaps, and one object of each kind comes and goes."""
_TEN: Final = ("ConfigMap",) * 4 + ("Secret",) * 2 + ("Deployment",) * 2 + ("Service",) * 2

_HELPERS: Final = """\
{{- define "many.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}
"""
_OBJECTS: Final = """\
{{- range $number := untilStep (int .Values.FIRST) (int (add .Values.FIRST .Values.COUNT)) 1 }}
---
apiVersion: VERSION
kind: KIND
metadata:
  name: {{ printf "LOWER-%04d" $number }}
  labels: {{- include "many.labels" $ | nindent 4 }}
BODY{{- end }}
"""
_BODIES: Final = {
    "ConfigMap": (
        "v1",
        """\
data:
  server.yaml: |
    listen: 0.0.0.0:8080
    number: {{ $number }}
    workers: {{ if eq 0 (mod $number 10) }}{{ $.Values.workers }}{{ else }}4{{ end }}
    storage:
      path: /var/lib/aeterna/{{ $number }}
      compaction: {interval: 15m, threads: 2, keep: 7d}
    logging: {level: info, format: json, sampling: {initial: 100, thereafter: 100}}
    limits:
{{- range $limit := until 12 }}
      tenant-{{ $limit }}: {requests: 100, burst: 200, bytes: 1048576}
{{- end }}
  FEATURES: search,graph,memory
""",
    ),
    "Secret": (
        "v1",
        """\
type: Opaque
stringData:
  username: service-{{ $number }}
  password: {{ printf "%s-%d" $.Release.Name $number | sha256sum | trunc 32 }}
""",
    ),
    "Deployment": (
        "apps/v1",
        """\
spec:
  replicas: 0
  selector:
    matchLabels: {app: {{ printf "deployment-%04d" $number }}}
  template:
    metadata:
      labels: {app: {{ printf "deployment-%04d" $number }}}
      annotations: {prometheus.io/scrape: "true", prometheus.io/port: "9090"}
    spec:
      securityContext: {runAsNonRoot: true, runAsUser: 10001, seccompProfile: {type: RuntimeDefault}}
      containers:
        - name: server
          image: "registry.example/aeterna:{{ $.Chart.AppVersion }}"
          args: [serve, --config=/etc/aeterna/server.yaml]
          ports:
            - {name: http, containerPort: 8080}
            - {name: metrics, containerPort: 9090}
          env:
            - name: POD_NAME
              valueFrom: {fieldRef: {fieldPath: metadata.name}}
{{- range $setting := until 8 }}
            - {name: SETTING_{{ $setting }}, value: "value of setting {{ $setting }}"}
{{- end }}
          readinessProbe:
            httpGet: {path: /ready, port: http}
            periodSeconds: 5
          livenessProbe:
            httpGet: {path: /health, port: http}
            initialDelaySeconds: 20
          resources:
            requests: {cpu: 10m, memory: 32Mi}
            limits: {memory: 128Mi}
          securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
          volumeMounts:
            - {name: config, mountPath: /etc/aeterna}
      volumes:
        - name: config
          configMap: {name: {{ printf "configmap-%04d" $number }}}
""",
    ),
    "Service": (
        "v1",
        """\
spec:
  clusterIP: None
  selector: {app: {{ printf "deployment-%04d" $number }}}
  ports:
    - {name: http, port: 8080, targetPort: http}
    - {name: metrics, port: 9090, targetPort: metrics}
""",
    ),
}


def many(objects: int) -> tuple[Package, Package]:
    """The two versions of a chart of ``objects`` objects, a multiple of ten."""
    if objects % 10:
        raise ValueError("a multiple of ten, please: the kinds come in tens")
    return _package(objects, BEFORE, first=0, workers=4), _package(objects, AFTER, first=1, workers=8)


def _package(objects: int, version: str, *, first: int, workers: int) -> Package:
    counts = {kind: _TEN.count(kind) * objects // 10 for kind in _BODIES}
    values = [f"workers: {workers}", f"first: {first}", *(f"{kind.lower()}s: {n}" for kind, n in counts.items())]
    templates = {f"templates/{kind.lower()}s.yaml": _template(kind) for kind in _BODIES}
    files = {
        "Chart.yaml": f"apiVersion: v2\nname: {CHART}\nversion: {version}\nappVersion: {version}\n",
        "values.yaml": "\n".join(values) + "\n",
        "templates/_helpers.tpl": _HELPERS,
        **templates,
    }
    return pack(ChartVersion(version, created="2026-11-01T09:00:00Z"), files)


def _template(kind: str) -> str:
    version, body = _BODIES[kind]
    words = {
        "FIRST": "first",
        "COUNT": f"{kind.lower()}s",
        "VERSION": version,
        "KIND": kind,
        "LOWER": kind.lower(),
        "BODY": body,
    }
    text = _OBJECTS
    for word, meant in words.items():  # the body last, which may have such words of its own
        text = text.replace(word, meant)
    return text
