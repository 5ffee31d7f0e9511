{{/* Names and labels that all objects share. */}}
{{- define "mizar-gateway.name" -}}
{{- if contains "mizar-gateway" .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-mizar-gateway" .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "mizar-gateway.selector" -}}
app.kubernetes.io/name: mizar-gateway
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "mizar-gateway.labels" -}}
{{ include "mizar-gateway.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "mizar-gateway.claim" -}}
{{- default (printf "%s-ledger" (include "mizar-gateway.name" .)) .Values.persistence.existingClaim -}}
{{- end -}}

{{/* The whole configuration: keys of the chart first, since TOML's tables end what is above them. */}}
{{- define "mizar-gateway.config" -}}
listen = "0.0.0.0:8742"
state_dir = "/var/lib/mizar-gateway"
work_dir = {{ .Values.workDir.path | quote }}
services = ["services.toml"]
token_file = "/run/mizar/secrets/token"
{{ .Values.config | trim }}
{{- end -}}

{{/* What every container may do: nothing that the gateway does not need. */}}
{{- define "mizar-gateway.confined" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}
