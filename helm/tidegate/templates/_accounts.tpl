{{- /* (root, component, its values): the component's service account, unless one is named. */ -}}
{{- define "tidegate.serviceAccount" -}}
{{- $root := index . 0 -}}
{{- $account := (index . 2).serviceAccount -}}
{{- if not $account.name -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "tidegate.account" . }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "tidegate.labels" (list $root (index . 1)) | nindent 4 }}
  {{- with $account.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
automountServiceAccountToken: false
{{- end -}}
{{- end -}}

{{- /* (root, component, its values): binds the component's Role to its account. */ -}}
{{- define "tidegate.roleBinding" -}}
{{- $root := index . 0 -}}
{{- $name := printf "%s-%s" (include "tidegate.fullname" $root) (index . 1) -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ $name }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "tidegate.labels" (list $root (index . 1)) | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ $name }}
subjects:
  - kind: ServiceAccount
    name: {{ include "tidegate.account" . }}
    namespace: {{ $root.Release.Namespace }}
{{- end -}}

{{- /* (root, component, its values, pods): a budget where there is more than one pod. */ -}}
{{- define "tidegate.budget" -}}
{{- $root := index . 0 -}}
{{- $budget := (index . 2).podDisruptionBudget -}}
{{- if and $budget.enabled (gt (int (index . 3)) 1) -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "tidegate.fullname" $root }}-{{ index . 1 }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "tidegate.labels" (list $root (index . 1)) | nindent 4 }}
spec:
  maxUnavailable: {{ $budget.maxUnavailable }}
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "tidegate.selector" (list $root (index . 1)) | nindent 6 }}
{{- end -}}
{{- end -}}
