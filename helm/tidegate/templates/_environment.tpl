{{- /* Settings without secrets that all processes of the platform share, as a JSON object. */ -}}
{{- define "tidegate.environment" -}}
{{- $data := include "tidegate.dataPath" . -}}
{{- $env := dict
  "TIDEGATE_PROFILE" "cluster"
  "TIDEGATE_HOME" "/var/lib/tidegate"
  "TIDEGATE_CACHE" "/var/lib/tidegate/cache"
  "TIDEGATE_LOG_LEVEL" .Values.logLevel
  "TIDEGATE_ARTIFACTS_URI" (ternary (printf "file://%s/artifacts" $data) .Values.artifacts.uri (and .Values.local.enabled (not .Values.artifacts.uri)))
  "TIDEGATE_INFERENCE_LOG__URI" (ternary (printf "file://%s/inference-log" $data) .Values.inferenceLog.uri (and .Values.local.enabled (not .Values.inferenceLog.uri)))
  "TIDEGATE_MLFLOW_URI" (include "tidegate.mlflowUrl" .)
  "TIDEGATE_GATEWAY_URL" (include "tidegate.gatewayUrl" .)
  "TIDEGATE_RECEIVER_URL" (include "tidegate.receiverUrl" .)
  "TIDEGATE_CLUSTER__NAMESPACE" .Release.Namespace
  "TIDEGATE_CLUSTER__ENGINE_IMAGE" (include "tidegate.image" (list . "serve" "serve"))
  "TIDEGATE_CLUSTER__RAY_VERSION" .Values.engines.rayVersion
  "TIDEGATE_CLUSTER__HEAD_CPU" (toString .Values.engines.head.cpu)
  "TIDEGATE_CLUSTER__HEAD_MEMORY" .Values.engines.head.memory
  "TIDEGATE_CLUSTER__SERVICE_ACCOUNT" (include "tidegate.engineAccount" .)
  "TIDEGATE_CLUSTER__ENGINE_ENV_CONFIG" (printf "%s-engines" (include "tidegate.fullname" .))
  "TIDEGATE_CLUSTER__NODE_POOLS_PATH" "/etc/tidegate/node-pools/node-pools.yaml"
-}}
{{- with coalesce .Values.engines.existingSecret .Values.objectStorage.existingSecret -}}
{{- $_ := set $env "TIDEGATE_CLUSTER__ENGINE_ENV_SECRET" . -}}
{{- end -}}
{{- with .Values.engines.head.nodePool -}}
{{- $_ := set $env "TIDEGATE_CLUSTER__HEAD_NODE_POOL" . -}}
{{- end -}}
{{- with .Values.ray.existingSecret -}}
{{- $_ := set $env "TIDEGATE_CLUSTER__RAY_TOKEN_SECRET" . -}}
{{- end -}}
{{- with .Values.redis.address -}}
{{- $_ := set $env "TIDEGATE_CLUSTER__REDIS_ADDRESS" (ternary (printf "rediss://%s" .) . $.Values.redis.tls) -}}
{{- end -}}
{{- with .Values.redis.existingSecret -}}
{{- $_ := set $env "TIDEGATE_CLUSTER__REDIS_PASSWORD_SECRET" . -}}
{{- end -}}
{{- if and .Values.local.enabled (not .Values.database.existingSecret) -}}
{{- $_ := set $env "TIDEGATE_DATABASE_URL" (printf "sqlite:///%s/tidegate.db" $data) -}}
{{- end -}}
{{- if .Values.local.enabled -}}
{{- $_ := set $env "TIDEGATE_FEAST_REPO" (printf "%s/feast" $data) -}}
{{- end -}}
{{- mergeOverwrite $env (include "tidegate.kfpEnvironment" . | fromJson) (include "tidegate.clientEnvironment" . | fromJson) .Values.settings | toJson -}}
{{- end -}}

{{- /* What clients of PostgreSQL, object storage, Redis and MLflow are told, as a JSON object. */ -}}
{{- define "tidegate.clientEnvironment" -}}
{{- $env := include "tidegate.authorityEnvironment" (list . (include "tidegate.authorityFile" .)) | fromJson -}}
{{- mergeOverwrite $env (include "tidegate.storageEnvironment" . | fromJson) | toJson -}}
{{- end -}}

{{- /* objectStorage.env as a JSON object. boto3, which MLflow uses, knows the region's older name only. */ -}}
{{- define "tidegate.storageEnvironment" -}}
{{- $env := deepCopy .Values.objectStorage.env -}}
{{- if and $env.AWS_REGION (not $env.AWS_DEFAULT_REGION) -}}
{{- $_ := set $env "AWS_DEFAULT_REGION" $env.AWS_REGION -}}
{{- end -}}
{{- $env | toJson -}}
{{- end -}}

{{- define "tidegate.kfpEnvironment" -}}
{{- $kfp := .Values.kfp -}}
{{- $env := dict -}}
{{- if $kfp.url -}}
{{- $env = dict
  "TIDEGATE_KFP__URL" $kfp.url
  "TIDEGATE_KFP__NAMESPACE" (default (first (include "tidegate.pipelineNamespaces" . | fromJsonArray)) $kfp.namespace)
  "TIDEGATE_KFP__EXPERIMENT" $kfp.experiment
  "TIDEGATE_KFP__SERVICE_ACCOUNT" .Values.pipelines.serviceAccount
-}}
{{- with $kfp.version -}}
{{- $_ := set $env "TIDEGATE_KFP__VERSION" . -}}
{{- end -}}
{{- with $kfp.uiUrl -}}
{{- $_ := set $env "TIDEGATE_KFP__UI_URL" . -}}
{{- end -}}
{{- end -}}
{{- $env | toJson -}}
{{- end -}}

{{- /* How the receiver shows who it is to Kubeflow Pipelines: a JSON list of variables. */ -}}
{{- define "tidegate.kfpClient" -}}
{{- $kfp := .Values.kfp -}}
{{- $paths := dict "token" "TIDEGATE_KFP__TOKEN_PATH" "serviceAccountToken" "TIDEGATE_KFP__TOKEN_PATH" "cookie" "TIDEGATE_KFP__COOKIE_PATH" "header" "TIDEGATE_KFP__HEADER_VALUE_PATH" -}}
{{- $env := list -}}
{{- with get $paths $kfp.authentication -}}
{{- $env = append $env (dict "name" . "value" "/etc/tidegate/kfp/credential") -}}
{{- end -}}
{{- if eq $kfp.authentication "header" -}}
{{- $env = append $env (dict "name" "TIDEGATE_KFP__HEADER_NAME" "value" $kfp.headerName) -}}
{{- end -}}
{{- if $kfp.caConfigMap -}}
{{- $env = append $env (dict "name" "TIDEGATE_KFP__CA_PATH" "value" "/etc/tidegate/kfp-ca/ca.crt") -}}
{{- else if and $kfp.url .Values.certificateAuthority.configMap -}}
{{- $env = append $env (dict "name" "TIDEGATE_KFP__CA_PATH" "value" (include "tidegate.authorityFile" .)) -}}
{{- end -}}
{{- $env | toJson -}}
{{- end -}}

{{- /* A JSON object as the data of a ConfigMap. */ -}}
{{- define "tidegate.data" -}}
{{- range $name, $value := . }}
{{ $name }}: {{ toString $value | quote }}
{{- end }}
{{- end -}}

{{- /* Whose credentials a component gets: those of what it asks, and no others. */ -}}
{{- define "tidegate.asks" -}}
{{- get (dict "operator" "storage mlflow" "gateway" "storage" "drift" "storage mlflow" "scorer" "" "receiver" "") . -}}
{{- end -}}

{{- /* (root, component): variables that the component alone has, as a JSON list. */ -}}
{{- define "tidegate.variables" -}}
{{- $root := index . 0 -}}
{{- $env := list -}}
{{- if and (eq (index . 1) "operator") $root.Values.mlflow.webhookSecret -}}
{{- $env = append $env (dict "name" "TIDEGATE_CLUSTER__WEBHOOK_SECRET_PATH" "value" "/etc/tidegate/webhook/webhook.secret") -}}
{{- else if eq (index . 1) "gateway" -}}
{{- $drain := dict "name" "TIDEGATE_LIMITS__DRAIN_SECONDS" "value" (include "tidegate.drainSeconds" $root) -}}
{{- $env = append (include "tidegate.featureEnvironment" $root | fromJsonArray) $drain -}}
{{- else if eq (index . 1) "receiver" -}}
{{- $env = include "tidegate.kfpClient" $root | fromJsonArray -}}
{{- end -}}
{{- $env | toJson -}}
{{- end -}}

{{- /* (root, component, its values): env and envFrom of a container. */ -}}
{{- define "tidegate.env" -}}
{{- $root := index . 0 -}}
{{- $asks := include "tidegate.asks" (index . 1) | splitList " " -}}
envFrom:
  - configMapRef: {name: {{ include "tidegate.fullname" $root }}-platform}
{{- if and (has "storage" $asks) $root.Values.objectStorage.existingSecret }}
  - secretRef: {name: {{ $root.Values.objectStorage.existingSecret }}}
{{- end }}
{{- if and (has "mlflow" $asks) $root.Values.mlflow.existingSecret }}
  - secretRef: {name: {{ $root.Values.mlflow.existingSecret }}}
{{- end }}
env:
  - name: POD_NAME
    valueFrom: {fieldRef: {fieldPath: metadata.name}}
  - name: POD_UID
    valueFrom: {fieldRef: {fieldPath: metadata.uid}}
  - name: POD_NAMESPACE
    valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
{{- with $root.Values.database.existingSecret }}
  - name: TIDEGATE_DATABASE_URL
    valueFrom: {secretKeyRef: {name: {{ . }}, key: {{ $root.Values.database.key }}}}
{{- end }}
{{- range include "tidegate.variables" . | fromJsonArray }}
  - {{ toJson . }}
{{- end }}
{{- with (index . 2).extraEnv }}
{{ toYaml . | indent 2 }}
{{- end }}
{{- end -}}

{{- /* What only the long-running processes of the release are told, beside `tidegate.environment`. */ -}}
{{- define "tidegate.servers" -}}
{{- dict
  "TIDEGATE_ATTESTATION_KEY_PATH" "/etc/tidegate/attestation/attestation.key"
  "TIDEGATE_API_KEYS_PATH" "/etc/tidegate/gateway/api-keys.yaml"
  "TIDEGATE_RECEIVER_TOKEN_PATH" "/etc/tidegate/receiver/token"
  "TIDEGATE_RAY_TOKEN_PATH" "/etc/tidegate/ray/auth_token"
  "TIDEGATE_GATEWAY_HOST" "0.0.0.0"
  "TIDEGATE_GATEWAY_PORT" (toString .Values.gateway.port)
  "TIDEGATE_RECEIVER_HOST" "0.0.0.0"
  "TIDEGATE_RECEIVER_PORT" (toString .Values.receiver.port)
  "TIDEGATE_CLUSTER__METRICS_PORT" (toString .Values.operator.port)
| toJson -}}
{{- end -}}
