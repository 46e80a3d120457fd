{{- define "tidegate.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- /* Cut so that the longest suffix still fits into 63 characters. */ -}}
{{- define "tidegate.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- /* (root, component) → the labels by which Services and policies find pods; they never change. */ -}}
{{- define "tidegate.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "tidegate.name" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
{{- with index . 1 }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end -}}

{{- /* (root, component) → all labels of an object. */ -}}
{{- define "tidegate.labels" -}}
{{- $root := index . 0 -}}
{{ include "tidegate.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: tidegate
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* (root, component, its values) → name of its service account. */ -}}
{{- define "tidegate.account" -}}
{{- $given := (index . 2).serviceAccount.name -}}
{{- default (printf "%s-%s" (include "tidegate.fullname" (index . 0)) (index . 1)) $given -}}
{{- end -}}

{{- /* (root, key of .Values.images, role) → image with tag or digest. */ -}}
{{- define "tidegate.image" -}}
{{- $root := index . 0 -}}
{{- $own := index $root.Values.images (index . 1) -}}
{{- $shared := $root.Values.image -}}
{{- $name := default (printf "%s/%s/%s" $shared.registry $shared.repository (index . 2)) $own.name -}}
{{- if $own.digest -}}
{{- printf "%s@%s" $name $own.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (toString (coalesce $own.tag $shared.tag $root.Chart.AppVersion)) -}}
{{- end -}}
{{- end -}}
