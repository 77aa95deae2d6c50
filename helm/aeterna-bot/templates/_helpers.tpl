{{- define "aeterna-bot.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- define "aeterna-bot.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "aeterna-bot.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{ include "aeterna-bot.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "aeterna-bot.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "aeterna-bot.fullname" .) -}}
{{- else -}}
{{- required "serviceAccount.name is needed when serviceAccount.create is false." .Values.serviceAccount.name -}}
{{- end -}}
{{- end }}

{{- define "aeterna-bot.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end }}

{{- define "aeterna-bot.mode" -}}
{{- dig "slack" "mode" "socket" .Values.config -}}
{{- end }}

{{- define "aeterna-bot.port" -}}
{{- dig "slack" "port" 3000 .Values.config | int -}}
{{- end }}

{{- /* The namespaces of the targets that the pod's own account serves, each once. */}}
{{- define "aeterna-bot.namespaces" -}}
{{- $found := list -}}
{{- range .Values.config.targets -}}
{{- if not (dig "cluster" "context" "" .) -}}
{{- $found = append $found .namespace -}}
{{- end -}}
{{- end -}}
{{- $found | uniq | sortAlpha | toJson -}}
{{- end }}

{{- /* engine.grace (25s unless said otherwise; 1m30s, 2h) in whole seconds. */}}
{{- define "aeterna-bot.grace" -}}
{{- $total := 0.0 -}}
{{- $units := dict "s" 1.0 "m" 60.0 "h" 3600.0 "d" 86400.0 -}}
{{- range regexFindAll "[0-9.]+[smhd]" (dig "engine" "grace" "25s" .Values.config | toString) -1 -}}
{{- $unit := . | trunc -1 -}}
{{- $total = addf $total (mulf (trimSuffix $unit . | float64) (get $units $unit)) -}}
{{- end -}}
{{- $total | ceil | int -}}
{{- end }}

{{- /* What the bot and its test have in common. */}}
{{- define "aeterna-bot.env" -}}
- {name: AETERNA_BOT_CONFIG, value: /etc/aeterna-bot/aeterna-bot.yaml}
- {name: SLACK_BOT_TOKEN_FILE, value: /run/secrets/slack/bot-token}
{{- if eq (include "aeterna-bot.mode" .) "http" }}
- {name: SLACK_SIGNING_SECRET_FILE, value: /run/secrets/slack/signing-secret}
{{- else }}
- {name: SLACK_APP_TOKEN_FILE, value: /run/secrets/slack/app-token}
{{- end }}
{{- if .Values.database.existingSecret }}
- {name: DATABASE_URL_FILE, value: /run/secrets/database/url}
{{- end }}
{{- if .Values.kubeconfig.existingSecret }}
- {name: KUBECONFIG, value: /run/secrets/kubeconfig/config}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "aeterna-bot.mounts" -}}
- {name: config, mountPath: /etc/aeterna-bot, readOnly: true}
- {name: state, mountPath: /var/lib/aeterna-bot}
- {name: tmp, mountPath: /tmp}
- {name: slack, mountPath: /run/secrets/slack, readOnly: true}
{{- if .Values.database.existingSecret }}
- {name: database, mountPath: /run/secrets/database, readOnly: true}
{{- end }}
{{- if .Values.kubeconfig.existingSecret }}
- {name: kubeconfig, mountPath: /run/secrets/kubeconfig, readOnly: true}
{{- end }}
{{- end }}

{{- /* All volumes but `state`, which the bot keeps and the test does not. */}}
{{- define "aeterna-bot.volumes" -}}
- name: config
  projected:
    sources:
      - configMap:
          name: {{ include "aeterna-bot.fullname" . }}
          items:
            - {key: aeterna-bot.yaml, path: aeterna-bot.yaml}
            {{- range $name, $_ := .Values.valuesFiles }}
            - {key: {{ printf "values.%s" $name | quote }}, path: {{ printf "values/%s" $name | quote }}}
            {{- end }}
            {{- range $name, $_ := .Values.runbooks }}
            - {key: {{ printf "runbooks.%s" $name | quote }}, path: {{ printf "runbooks/%s" $name | quote }}}
            {{- end }}
      {{- if .Values.valuesSecret.name }}
      - secret:
          name: {{ .Values.valuesSecret.name }}
          items:
            {{- range .Values.valuesSecret.files }}
            - {key: {{ . | quote }}, path: {{ printf "values/%s" . | quote }}}
            {{- end }}
      {{- end }}
- name: tmp
  emptyDir: {}
- name: slack
  secret:
    secretName: {{ required "slack.existingSecret is needed: a Secret with bot-token and app-token (or signing-secret)." .Values.slack.existingSecret }}
    items:
      - {key: bot-token, path: bot-token}
      {{- if eq (include "aeterna-bot.mode" .) "http" }}
      - {key: signing-secret, path: signing-secret}
      {{- else }}
      - {key: app-token, path: app-token}
      {{- end }}
{{- if .Values.database.existingSecret }}
- name: database
  secret:
    secretName: {{ .Values.database.existingSecret }}
    items: [{key: {{ .Values.database.key | quote }}, path: url}]
{{- end }}
{{- if .Values.kubeconfig.existingSecret }}
- name: kubeconfig
  secret:
    secretName: {{ .Values.kubeconfig.existingSecret }}
    items: [{key: config, path: config}]
{{- end }}
{{- end }}

{{- /* PodSecurity "restricted", and a group that may write to the volume. */}}
{{- define "aeterna-bot.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "aeterna-bot.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}
