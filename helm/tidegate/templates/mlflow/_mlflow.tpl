{{- define "tidegate.mlflowArtifacts" -}}
{{- default (printf "file://%s/mlflow-artifacts" (include "tidegate.dataPath" .)) .Values.mlflow.server.artifactRoot -}}
{{- end -}}

{{- /* Names by which clients may call the server: it refuses others, which keeps browsers out. */ -}}
{{- define "tidegate.mlflowHosts" -}}
{{- $name := printf "%s-mlflow" (include "tidegate.fullname" .) -}}
{{- $hosts := list "localhost" "localhost:*" "127.0.0.1:*" -}}
{{- range list $name (printf "%s.%s" $name .Release.Namespace) (printf "%s.%s.svc" $name .Release.Namespace) -}}
{{- $hosts = concat $hosts (list . (printf "%s:*" .)) -}}
{{- end -}}
{{- $hosts = append $hosts (printf "%s.%s.svc.*" $name .Release.Namespace) -}}
{{- join "," (concat $hosts .Values.mlflow.server.allowedHosts) -}}
{{- end -}}

{{- define "tidegate.mlflowEnv" -}}
{{- $v := .Values.mlflow.server -}}
{{- with .Values.objectStorage.existingSecret }}
envFrom:
  - secretRef: {name: {{ . }}}
{{- end }}
env:
  {{- if $v.existingSecret }}
  - name: MLFLOW_BACKEND_STORE_URI
    valueFrom: {secretKeyRef: {name: {{ $v.existingSecret }}, key: {{ $v.key }}}}
  {{- else }}
  - {name: MLFLOW_BACKEND_STORE_URI, value: "sqlite:///{{ include "tidegate.dataPath" . }}/mlflow.db"}
  {{- end }}
  - {name: HOME, value: /var/lib/tidegate}
  - {name: MLFLOW_SERVER_ALLOWED_HOSTS, value: {{ include "tidegate.mlflowHosts" . | quote }}}
  - {name: MLFLOW_ALLOW_PICKLE_DESERIALIZATION, value: "false"}
  - {name: MLFLOW_DISABLE_TELEMETRY, value: "true"}
  - {name: DO_NOT_TRACK, value: "true"}
  - {name: MLFLOW_SERVER_ENABLE_JOB_EXECUTION, value: "false"}
  - {name: GIT_PYTHON_REFRESH, value: quiet}
  {{- with .Values.mlflow.webhookSecret }}
  # The operator's address is private and speaks HTTP; both are refused otherwise. Without a key of their own the server's
  # processes could not read each other's webhooks.
  - {name: MLFLOW_WEBHOOK_ALLOWED_SCHEMES, value: "https,http"}
  - {name: MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS, value: "true"}
  - name: MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY
    valueFrom: {secretKeyRef: {name: {{ . }}, key: encryption.key}}
  {{- end }}
  {{- $own := dict }}
  {{- range $v.extraEnv }}
  {{- $_ := set $own .name true }}
  {{- end }}
  {{- range $name, $value := include "tidegate.clientEnvironment" . | fromJson }}
  {{- if not (hasKey $own $name) }}
  - {name: {{ $name }}, value: {{ toString $value | quote }}}
  {{- end }}
  {{- end }}
  {{- with $v.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}
