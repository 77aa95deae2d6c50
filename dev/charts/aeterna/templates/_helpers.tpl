{{- define "aeterna.name" -}}
{{- default .Chart.Name .Values.aeterna.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- /* The release's name when it already says aeterna, else <release>-aeterna. */}}
{{- define "aeterna.fullname" -}}
{{- if .Values.aeterna.fullnameOverride }}
{{- .Values.aeterna.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains (include "aeterna.name" .) .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "aeterna.name" .) | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "aeterna.chart" -}}
{{- printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "aeterna.selectorLabels" -}}
app.kubernetes.io/name: {{ include "aeterna.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "aeterna.labels" -}}
helm.sh/chart: {{ include "aeterna.chart" . }}
{{ include "aeterna.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "aeterna.opal.labels" -}}
helm.sh/chart: {{ include "aeterna.chart" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: {{ include "aeterna.name" . }}
{{- end }}

{{- /* Selector labels of one part of the policy stack: (dict "root" $ "part" "opal-server"). */}}
{{- define "aeterna.opal.selectorLabels" -}}
app.kubernetes.io/name: {{ include "aeterna.name" .root }}-{{ .part }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end }}

{{- define "aeterna.qdrant.selectorLabels" -}}
app: qdrant
app.kubernetes.io/name: qdrant
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "aeterna.dragonfly.selectorLabels" -}}
app.kubernetes.io/name: dragonfly
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "aeterna.serviceAccountName" -}}
{{- if .Values.aeterna.serviceAccount.create }}
{{- default (include "aeterna.fullname" .) .Values.aeterna.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.aeterna.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "aeterna.image" -}}
{{- $image := printf "%s:%s" .Values.aeterna.image.repository (.Values.aeterna.image.tag | default .Chart.AppVersion) }}
{{- with .Values.global.imageRegistry }}{{ . }}/{{ end }}{{ $image }}
{{- end }}

{{- define "aeterna.migration.image" -}}
{{- $repository := .Values.migration.image.repository | default .Values.aeterna.image.repository }}
{{- $tag := .Values.migration.image.tag | default .Values.aeterna.image.tag | default .Chart.AppVersion }}
{{- with .Values.global.imageRegistry }}{{ . }}/{{ end }}{{ $repository }}:{{ $tag }}
{{- end }}

{{- define "aeterna.postgresql.host" -}}
{{- if .Values.postgresql.bundled }}
{{- include "aeterna.fullname" . }}-cnpg-rw
{{- else }}
{{- required "postgresql.bundled=false requires postgresql.external.host" .Values.postgresql.external.host }}
{{- end }}
{{- end }}

{{- define "aeterna.postgresql.secretName" -}}
{{- if .Values.postgresql.bundled }}
{{- include "aeterna.fullname" . }}-cnpg-app
{{- else }}
{{- .Values.postgresql.external.existingSecret | default (printf "%s-postgresql" (include "aeterna.fullname" .)) }}
{{- end }}
{{- end }}

{{- define "aeterna.postgresql.passwordKey" -}}
{{- if .Values.postgresql.bundled }}password{{ else }}{{ .Values.postgresql.external.secretKey }}{{ end }}
{{- end }}

{{- define "aeterna.redis.host" -}}
{{- if .Values.cache.external.enabled }}
{{- .Values.cache.external.host }}
{{- else }}
{{- include "aeterna.fullname" . }}-dragonfly
{{- end }}
{{- end }}

{{- define "aeterna.qdrant.host" -}}
{{- if .Values.vectorBackend.qdrant.bundled }}
{{- include "aeterna.fullname" . }}-qdrant
{{- else }}
{{- required "vectorBackend.type=qdrant with bundled=false requires vectorBackend.qdrant.external.host" .Values.vectorBackend.qdrant.external.host }}
{{- end }}
{{- end }}

{{- define "aeterna.validate" -}}
{{- if and (ne .Values.deploymentMode "local") (not .Values.central.url) }}
{{- fail (printf "deploymentMode=%s requires central.url" .Values.deploymentMode) }}
{{- end }}
{{- end }}

{{- define "aeterna.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 1000
fsGroup: 1000
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "aeterna.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- /* Probe of an HTTP path on a named port: (dict "path" "/health" "port" "http"). */}}
{{- define "aeterna.probe" -}}
httpGet:
  path: {{ .path }}
  port: {{ .port }}
initialDelaySeconds: 5
periodSeconds: 5
timeoutSeconds: 3
failureThreshold: {{ .failures | default 3 }}
{{- end }}
