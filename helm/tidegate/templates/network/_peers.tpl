{{- /* (peers, ports): an egress rule; no peers means anywhere on these ports. */ -}}
{{- define "tidegate.egress" -}}
- ports:
  {{- range index . 1 }}
    - {protocol: TCP, port: {{ int . }}}
  {{- end }}
  {{- with index . 0 }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{- /* The list `dns` of peers: name servers, by the ports of their pods. */ -}}
{{- define "tidegate.egress.dns" -}}
- ports:
  {{- range .Values.networkPolicy.dnsPorts }}
    - {protocol: UDP, port: {{ int . }}}
    - {protocol: TCP, port: {{ int . }}}
  {{- end }}
  {{- with .Values.networkPolicy.dns }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{- define "tidegate.egress.api" -}}
{{- include "tidegate.egress" (list .Values.networkPolicy.apiServer .Values.networkPolicy.apiServerPorts) -}}
{{- end -}}

{{- define "tidegate.egress.database" -}}
{{- if .Values.database.existingSecret -}}
{{- include "tidegate.egress" (list .Values.networkPolicy.database .Values.networkPolicy.databasePorts) -}}
{{- end -}}
{{- end -}}

{{- /* Object storage, an existing MLflow, Kubeflow Pipelines: also at the ports that their addresses name. */ -}}
{{- define "tidegate.egress.external" -}}
{{- $ports := list -}}
{{- range .Values.networkPolicy.externalPorts -}}
{{- $ports = append $ports (int .) -}}
{{- end -}}
{{- $addresses := list .Values.mlflow.url .Values.kfp.url -}}
{{- range $name, $value := .Values.objectStorage.env -}}
{{- if contains "ENDPOINT_URL" $name -}}
{{- $addresses = append $addresses (toString $value) -}}
{{- end -}}
{{- end -}}
{{- range $addresses -}}
{{- with regexFind "^https?://[^/]+:[0-9]+(/|$)" . | trimSuffix "/" | regexFind "[0-9]+$" -}}
{{- $ports = append $ports (int .) -}}
{{- end -}}
{{- end -}}
{{- include "tidegate.egress" (list .Values.networkPolicy.external (uniq $ports)) -}}
{{- end -}}

{{- /* (root, component, port): to a part of the release. */ -}}
{{- define "tidegate.egress.part" -}}
{{- include "tidegate.egress" (list (list (dict "podSelector" (dict "matchLabels" (include "tidegate.selector" (list (index . 0) (index . 1)) | fromYaml)))) (list (index . 2))) -}}
{{- end -}}

{{- define "tidegate.enginePods" -}}
matchExpressions:
  - {key: tidegate.dev/runtime, operator: Exists}
{{- end -}}

{{- define "tidegate.trainingPods" -}}
matchExpressions:
  - {key: tidegate.dev/job, operator: Exists}
{{- end -}}

{{- define "tidegate.egress.engines" -}}
{{- include "tidegate.egress" (list (list (dict "podSelector" (include "tidegate.enginePods" . | fromYaml))) .) -}}
{{- end -}}

{{- /* (root, component): head of a policy on the component's pods. */ -}}
{{- define "tidegate.policyHead" -}}
{{- $root := index . 0 -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "tidegate.fullname" $root }}-{{ index . 1 }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "tidegate.labels" (list $root (index . 1)) | nindent 4 }}
spec:
  podSelector:
    matchLabels:
      {{- include "tidegate.selector" . | nindent 6 }}
{{- end -}}
