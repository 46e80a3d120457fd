{{- /* (root, component, its values) → what every pod's metadata has. */ -}}
{{- define "tidegate.podMetadata" -}}
{{- $root := index . 0 -}}
{{- $values := index . 2 -}}
labels:
  {{- mergeOverwrite (include "tidegate.labels" (list $root (index . 1)) | fromYaml) (default dict $values.podLabels) | toYaml | nindent 2 }}
{{- $config := ternary (dict) (dict "tidegate.dev/config" (include "tidegate.configDigest" $root)) (eq (index . 1) "mlflow") }}
{{- with merge (dict) $config $values.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* Changes with the configuration that processes read at their start, so that pods are replaced. MLflow reads none of
it, and its one pod that goes takes the registry away for a while. */ -}}
{{- define "tidegate.configDigest" -}}
{{- printf "%s%s%s" (include "tidegate.environment" .) (include "tidegate.nodePools" (list . .Release.Namespace)) (ternary (include "tidegate.featureStore" .) "" (eq "true" (include "tidegate.sharesFeatures" .))) | sha256sum | trunc 32 -}}
{{- end -}}

{{- /* (root, component, its values, calls the API): what every pod's spec has. */ -}}
{{- define "tidegate.podSpec" -}}
{{- $root := index . 0 -}}
{{- $values := index . 2 -}}
serviceAccountName: {{ include "tidegate.account" (list $root (index . 1) $values) }}
automountServiceAccountToken: {{ index . 3 }}
enableServiceLinks: false
securityContext:
  {{- include "tidegate.podSecurity" $root | nindent 2 }}
terminationGracePeriodSeconds: {{ int $values.terminationGracePeriodSeconds }}
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* (root, component, its values): spread of a Deployment's pods. */ -}}
{{- define "tidegate.spread" -}}
{{- $selector := include "tidegate.selector" (list (index . 0) (index . 1)) -}}
topologySpreadConstraints:
{{- with (index . 2).topologySpreadConstraints }}
  {{- toYaml . | nindent 2 }}
{{- else }}
{{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- $selector | nindent 8 }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "tidegate.podSecurity" -}}
runAsNonRoot: true
{{- with .Values.security.runAsUser }}
runAsUser: {{ int64 . }}
{{- end }}
{{- with .Values.security.runAsGroup }}
runAsGroup: {{ int64 . }}
{{- end }}
{{- with .Values.security.fsGroup }}
fsGroup: {{ int64 . }}
fsGroupChangePolicy: OnRootMismatch
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "tidegate.containerSecurity" -}}
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
readOnlyRootFilesystem: true
{{- end -}}

{{- /* (root, image key, role): image of a container. */ -}}
{{- define "tidegate.containerImage" -}}
image: {{ include "tidegate.image" . }}
imagePullPolicy: {{ (index . 0).Values.image.pullPolicy }}
{{- end -}}

{{- /* (root, values of the component): what every container may write, and the authority's certificates. */ -}}
{{- define "tidegate.mounts" -}}
- name: tmp
  mountPath: /tmp
- name: home
  mountPath: /var/lib/tidegate
{{- if (index . 0).Values.local.enabled }}
- name: data
  mountPath: {{ include "tidegate.dataPath" (index . 0) }}
{{- end }}
{{- if (index . 0).Values.certificateAuthority.configMap }}
- {{ include "tidegate.authorityMount" (index . 0) }}
{{- end }}
{{- with (index . 1).extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "tidegate.volumes" -}}
- name: tmp
  emptyDir: {}
- name: home
  emptyDir: {}
{{- if (index . 0).Values.local.enabled }}
- name: data
  persistentVolumeClaim:
    claimName: {{ include "tidegate.claim" (index . 0) }}
{{- end }}
{{- if (index . 0).Values.certificateAuthority.configMap }}
- {{ include "tidegate.authoritySource" (index . 0) }}
{{- end }}
{{- with (index . 1).extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* (volume's name, Secret, key, file): a key of a Secret as a file. */ -}}
{{- define "tidegate.secretVolume" -}}
- name: {{ index . 0 }}
  secret:
    secretName: {{ index . 1 }}
    defaultMode: 0440
    items:
      - key: {{ index . 2 | quote }}
        path: {{ index . 3 }}
{{- end -}}
