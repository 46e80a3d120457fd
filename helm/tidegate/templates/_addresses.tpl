{{- /* Addresses name their namespace: step pods of other namespaces use them, too. */ -}}
{{- define "tidegate.gatewayUrl" -}}
{{- default (printf "http://%s-gateway.%s.svc:%d" (include "tidegate.fullname" .) .Release.Namespace (int .Values.gateway.service.port)) .Values.gateway.url -}}
{{- end -}}

{{- define "tidegate.receiverUrl" -}}
{{- default (printf "http://%s-receiver.%s.svc:%d" (include "tidegate.fullname" .) .Release.Namespace (int .Values.receiver.service.port)) .Values.receiver.url -}}
{{- end -}}

{{- define "tidegate.mlflowUrl" -}}
{{- default (printf "http://%s-mlflow.%s.svc:%d" (include "tidegate.fullname" .) .Release.Namespace (int .Values.mlflow.server.port)) .Values.mlflow.url -}}
{{- end -}}

{{- define "tidegate.ownMlflow" -}}
{{- if not .Values.mlflow.url -}}true{{- end -}}
{{- end -}}

{{- define "tidegate.dataPath" -}}/var/lib/tidegate-data{{- end -}}

{{- define "tidegate.claim" -}}
{{- default (printf "%s-data" (include "tidegate.fullname" .)) .Values.local.existingClaim -}}
{{- end -}}

{{- define "tidegate.engineAccount" -}}
{{- default (printf "%s-engine" (include "tidegate.fullname" .)) .Values.engines.serviceAccount.name -}}
{{- end -}}

{{- /* JSON list of the namespaces in which pipelines run. */ -}}
{{- define "tidegate.pipelineNamespaces" -}}
{{- .Values.pipelines.namespaces | default (list .Release.Namespace) | uniq | toJson -}}
{{- end -}}
