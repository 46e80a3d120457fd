{{- /* Certificates of an authority of one's own: where pods find them, and what tells each client to trust them. */ -}}
{{- define "tidegate.authorityFolder" -}}/etc/tidegate/ca{{- end -}}
{{- define "tidegate.authorityVolume" -}}tidegate-ca{{- end -}}

{{- /* (root, file): variables, as a JSON object; none without an authority. botocore and s3fs read the first,
PostgreSQL's client the second, Python's and OpenSSL's defaults (Redis, MLflow, Arrow) the third, requests the fourth. */ -}}
{{- define "tidegate.authorityEnvironment" -}}
{{- $env := dict -}}
{{- if (index . 0).Values.certificateAuthority.configMap -}}
{{- range list "AWS_CA_BUNDLE" "PGSSLROOTCERT" "SSL_CERT_FILE" "REQUESTS_CA_BUNDLE" -}}
{{- $_ := set $env . (index $ 1) -}}
{{- end -}}
{{- end -}}
{{- $env | toJson -}}
{{- end -}}

{{- define "tidegate.authorityFile" -}}{{ include "tidegate.authorityFolder" . }}/ca.crt{{- end -}}

{{- /* As JSON, since node pools need them as data. */ -}}
{{- define "tidegate.authorityMount" -}}
{{- dict "name" (include "tidegate.authorityVolume" .) "mountPath" (include "tidegate.authorityFolder" .) "readOnly" true | toJson -}}
{{- end -}}

{{- define "tidegate.authoritySource" -}}
{{- $item := dict "key" .Values.certificateAuthority.key "path" "ca.crt" -}}
{{- dict "name" (include "tidegate.authorityVolume" .) "configMap" (dict "name" .Values.certificateAuthority.configMap "items" (list $item)) | toJson -}}
{{- end -}}

{{- /* (root, value's name, volumes, mounts): what stands where the authority's certificates go, as a JSON list of
messages. Kubernetes would refuse the pod, and for an engine only KubeRay's log would say so. */ -}}
{{- define "tidegate.authorityClashes" -}}
{{- $root := index . 0 -}}
{{- $said := list -}}
{{- $after := "take it out, or unset certificateAuthority.configMap, which mounts its own" -}}
{{- range index . 2 -}}
{{- if eq .name (include "tidegate.authorityVolume" $root) -}}
{{- $said = append $said (printf "%s has a volume named %s: %s" (index $ 1) .name $after) -}}
{{- end -}}
{{- end -}}
{{- range index . 3 -}}
{{- if eq (trimSuffix "/" (toString .mountPath)) (include "tidegate.authorityFolder" $root) -}}
{{- $said = append $said (printf "%s mounts something at %s: %s" (index $ 1) .mountPath $after) -}}
{{- end -}}
{{- end -}}
{{- $said | toJson -}}
{{- end -}}
