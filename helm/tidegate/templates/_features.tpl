{{- /* Whether gateways and pipeline steps share a feature store by a configuration. With local extras they share a
folder on the volume, and a folder that settings name is the team's own. */ -}}
{{- define "tidegate.sharesFeatures" -}}
{{- if .Values.features.config -}}true
{{- else if and .Values.redis.address .Values.database.existingSecret (not .Values.local.enabled) (not (hasKey .Values.settings "TIDEGATE_FEAST_REPO")) -}}true
{{- end -}}
{{- end -}}

{{- /* Feast's feature_store.yaml. Feast's users know its format; ${NAME} is a variable of the process that reads it. */ -}}
{{- define "tidegate.featureStore" -}}
{{- if .Values.features.config -}}
{{- toYaml .Values.features.config -}}
{{- else -}}
{{- $redis := ternary (printf "%s,ssl=true" .Values.redis.address) .Values.redis.address .Values.redis.tls -}}
{{- if .Values.redis.existingSecret -}}
{{- $redis = printf "%s,password=\"${FEAST_REDIS_PASSWORD}\"" $redis -}}
{{- end -}}
{{- dict
  "project" "tidegate"
  "provider" "local"
  "registry" (dict "registry_type" "sql" "path" "${TIDEGATE_DATABASE_URL}")
  "offline_store" (dict "type" "file")
  "online_store" (dict "type" "redis" "connection_string" $redis)
  "entity_key_serialization_version" 3
| toYaml -}}
{{- end -}}
{{- end -}}

{{- /* Variables of the gateway's container, as a JSON list. */ -}}
{{- define "tidegate.featureEnvironment" -}}
{{- $env := list -}}
{{- if include "tidegate.sharesFeatures" . -}}
{{- $env = append $env (dict "name" "TIDEGATE_FEATURES__CONFIG" "value" "/etc/tidegate/features/feature_store.yaml") -}}
{{- with .Values.redis.existingSecret -}}
{{- $env = append $env (dict "name" "FEAST_REDIS_PASSWORD" "valueFrom" (dict "secretKeyRef" (dict "name" . "key" "password"))) -}}
{{- end -}}
{{- end -}}
{{- $env | toJson -}}
{{- end -}}

{{- /* To the online store; nothing where there is none, or no port of it is known. */ -}}
{{- define "tidegate.egress.features" -}}
{{- if include "tidegate.sharesFeatures" . -}}
{{- $ports := .Values.networkPolicy.redisPorts -}}
{{- if and (not $ports) .Values.redis.address -}}
{{- $ports = list (regexFind "[0-9]+$" .Values.redis.address) -}}
{{- end -}}
{{- if $ports -}}
{{- include "tidegate.egress" (list .Values.networkPolicy.redis $ports) -}}
{{- end -}}
{{- end -}}
{{- end -}}
